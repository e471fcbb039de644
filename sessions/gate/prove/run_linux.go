package prove

import (
	"crypto/rand"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/preamble"
)

// result is the answer of the Nonces to a Check.
type result struct {
	of      ref
	outcome sessions.Outcome
}

// run handles the events of connections without a proof. It ends when there are no such
// connections, and no listener.
func (p *Prover) run(q *poll) {
	for p.prepareWait(q) {
		for _, e := range q.wait() {
			p.read(ref{e.Fd, uint32(e.Pad)})
		}
		for _, r := range p.takeResults() {
			p.checked(r)
		}
	}
}

// prepareWait resets the connections whose time is over, and sets the time of the next.
// It returns false, and closes q, if there is nothing to wait for.
func (p *Prover) prepareWait(q *poll) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.reset(len(p.results) > 0)
	now := time.Now()
	s := p.table.next()
	for ; s != nil && !now.Before(s.end); s = p.table.next() {
		p.drop(s, Timeout)
	}
	switch {
	case s != nil:
		q.setDeadline(s.end)
	case p.serving == 0:
		q.close()
		p.poll, p.results = nil, nil
		return false
	default:
		q.setDeadline(time.Time{})
	}
	return true
}

func (p *Prover) takeResults() []result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results, p.spare = p.spare[:0], p.results
	return p.spare
}

// put stores the answer of the Nonces, for run. Any goroutine may call it.
func (p *Prover) put(r result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.poll == nil {
		return // there is no such connection any longer
	}
	p.results = append(p.results, r)
	if len(p.results) == 1 {
		p.poll.wake()
	}
}

// read reads the bytes that have come for a connection.
func (p *Prover) read(r ref) {
	p.mu.Lock()
	s := p.table.get(r)
	switch {
	case s == nil: // it has left meanwhile
	case s.stage == waiting && p.fill(s, preamble.Size):
		if p.readPreamble(s) {
			claim, from := s.claim, s.from
			p.mu.Unlock()
			p.check(r, &claim, from)
			return
		}
	case s.stage == answered && p.fill(s, preamble.ProofSize):
		c, reason := p.verifier.Prove(&s.claim, s.nonce, s.buffer[:preamble.ProofSize], p.cfg.Wall().Unix())
		switch reason {
		case verify.Authentic:
			from, target, fd := s.from, s.target, s.fd
			p.poll.remove(fd)
			p.table.remove(s)
			p.mu.Unlock()
			p.use(fd, c, from, target)
			return
		case verify.Expired:
			p.drop(s, Expired)
		default:
			p.drop(s, Proof)
		}
	}
	p.mu.Unlock()
}

// fill reads the rest of a message of n bytes, and no byte more. It returns whether the
// message is complete. A connection that the other side has ended leaves the table. The
// caller holds the lock.
func (p *Prover) fill(s *slot, n int) bool {
	for int(s.have) < n {
		got, err := receive(s.fd, s.buffer[s.have:n])
		if err != nil {
			p.drop(s, Closed)
			return false
		}
		if got == 0 {
			return false
		}
		s.have += uint8(got)
	}
	return true
}

// readPreamble verifies a preamble, and returns whether it is authentic. Otherwise its
// connection leaves the table. The caller holds the lock.
func (p *Prover) readPreamble(s *slot) bool {
	reason := verify.ClockSkew
	if rules := p.cfg.Authority.rules.Load(); rules != nil {
		p.verifier.SetRules(*rules)
		s.claim, reason = p.verifier.Claim(s.buffer[:], p.cfg.Wall().Unix())
		p.verifier.SetRules(verify.Rules{}) // after a reload, the old table would stay in memory
	}
	switch reason {
	case verify.Authentic:
		s.stage, s.have, s.copied = checking, 0, p.table.isCopy(s)
		return true
	case verify.ClockSkew:
		p.drop(s, Clock)
	case verify.Identifier, verify.MAC:
		p.drop(s, MAC)
	case verify.Expired:
		p.drop(s, Expired)
	case verify.BelowWindow:
		p.drop(s, Used)
	default:
		p.drop(s, Malformed)
	}
	return false
}

// check asks whether an authentic preamble may be answered.
func (p *Prover) check(r ref, c *verify.Claim, from netip.Addr) {
	nonces := p.cfg.Authority.nonces.Load()
	if nonces == nil || !p.hasLease(c.Identifier(), from) {
		p.refuse(r, NoLease)
		p.tell(c.Identifier(), from, NoLease)
		return
	}
	client := c.Identifier()
	(*nonces).Check(c, func(o sessions.Outcome) {
		if o != sessions.Recorded {
			p.tell(client, from, outcomeOf(o))
		}
		p.put(result{r, o})
	})
}

// refuse resets a connection, if it is still in the table.
func (p *Prover) refuse(r ref, o Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.table.get(r); s != nil {
		p.drop(s, o)
	}
}

// checked answers a preamble whose nonce is unused.
func (p *Prover) checked(r result) {
	if r.outcome != sessions.Recorded {
		p.refuse(r.of, outcomeOf(r.outcome))
		return
	}
	if p.answer(r.of) {
		p.await(r.of)
	}
}

// await makes run read the next message of a connection when it comes, or reads it.
func (p *Prover) await(r ref) {
	p.mu.Lock()
	s := p.table.get(r)
	if s == nil || !s.watched {
		if s != nil {
			p.watch(s, r)
		}
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.read(r) // bytes that came before are not reported again
}

// watch makes run read the bytes that come, and those that have come. The caller holds
// the lock.
func (p *Prover) watch(s *slot, r ref) {
	s.watched = true
	if p.poll.add(s.fd, r) != nil {
		p.drop(s, Full)
	}
}

func (p *Prover) answer(r ref) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.table.get(r)
	if s == nil {
		return false
	}
	rand.Read(s.nonce[:]) // it never fails
	b, _ := p.verifier.Answer(&s.claim, s.nonce).AppendBinary(p.message[:0])
	if send(s.fd, b) != nil {
		p.drop(s, Closed)
		return false
	}
	s.stage = answered
	return true
}

// use passes a connection that has proved itself, once the use of its nonce is on disk.
// It belongs to the client first, so that a revocation that comes later ends it.
func (p *Prover) use(fd int, c verify.Connection, from netip.Addr, t Target) {
	count := p.cfg.Authority.count
	tcp, err := connOf(fd)
	switch {
	case err == unix.ENOTCONN:
		count(Closed)
		return
	case err != nil:
		count(Full) // no descriptor is left
		return
	}
	owned, outcome := t.Own(tcp, c.Identifier())
	if outcome != Passed {
		p.deny(c.Identifier(), from, outcome)
		return
	}
	if !p.hasLease(c.Identifier(), from) {
		p.deny(c.Identifier(), from, NoLease)
		t.Refuse(owned)
		return
	}
	(*p.cfg.Authority.nonces.Load()).Use(c, func(o sessions.Outcome) {
		switch {
		case o != sessions.Recorded:
			p.deny(c.Identifier(), from, outcomeOf(o))
			t.Refuse(owned)
		case t.Pass(owned):
			count(Passed)
		default:
			p.deny(c.Identifier(), from, Revoked)
		}
	})
}

// outcomeOf returns why the Nonces refuse a connection.
func outcomeOf(o sessions.Outcome) Outcome {
	switch o {
	case sessions.Unknown:
		return Revoked
	case sessions.QueueFull:
		return Full
	case sessions.Unrecorded:
		return Unrecorded
	}
	return Used
}
