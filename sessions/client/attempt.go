package client

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	// addressPause is when an attempt goes on to the next address of the server, while
	// it still watches at those before.
	addressPause = 500 * time.Millisecond

	// afterICMP is how long the client still watches after an ICMP error for a knock:
	// the sequence is not complete then.
	afterICMP = 250 * time.Millisecond

	// previousTime is how long the client watches after a sequence to the ports of the
	// previous minute.
	previousTime = time.Second

	// enoughAttempts is how many attempts must have the same certain result before the
	// client makes no further one. The first may cross the end of a minute.
	enoughAttempts = 2
)

// errUnanswered is the error of an attempt after which no service answered.
var errUnanswered = errors.New("no answer")

// knocking is one call of Knock.
type knocking struct {
	cfg     Config
	targets []target
	minute  schedule.Minute // of the last attempt
	begun   int             // the attempt for which nonces were reserved last
	nonces  attemptNonces   // of this attempt
	found   findings
	// beforeOf has the state of drawn ports before the first knock of their minute.
	beforeOf map[netip.AddrPort]before
}

// errNoClock is the error of a sequence whose nonces should go by the clock, if the
// client is further already.
var errNoClock = errors.New("the nonces are ahead of the clock")

// sequence is what one sequence of an attempt is like.
type sequence struct {
	attempt  int
	previous bool // it goes to the ports of the previous minute
	byClock  bool // its nonces go by the clock
	second   bool // its nonces are from the second next nonce of the record, or from the first if the attempt has those
}

// trial is one sequence to one address.
type trial struct {
	target
	sequence
	index   int // of the target
	sender  *sender
	base    uint32
	moved   bool     // the nonces are ahead of the next ones
	isn     wire.ISN // of connections to the service; 0: the kernel chooses
	early   *earlyConn
	earlier before // as known from the attempts before
	// drawn are the ports at which the service may be, if its port rotates, in minute.
	drawn  []*candidate
	minute schedule.Minute
	sighting
}

// reserve reserves the nonces of a sequence. Only the first sequence of an attempt
// moves them ahead. It returns errNoClock if no nonces go by the clock.
func (k *knocking) reserve(ctx context.Context, s sequence) (base uint32, moved bool, err error) {
	client, n := k.cfg.Profile.Identifier.String(), k.cfg.Profile.Ports
	switch {
	case s.byClock:
		base, ok, err := k.cfg.Nonces.reserveByClock(ctx, n, k.cfg.Now())
		if err == nil && !ok {
			err = errNoClock
		}
		return base, true, err
	case k.begun == s.attempt:
		base, err = k.cfg.Nonces.reserveMore(ctx, client, n, k.nonces.other != s.second)
		return base, k.nonces.moved, err
	}
	k.begun = s.attempt
	k.nonces, err = k.cfg.Nonces.reserve(ctx, client, n, k.cfg.Now())
	return k.nonces.base, k.nonces.moved, err
}

// addresses returns the addresses of the server to which a sequence goes. An address of
// which an ICMP error came has no port that another program holds: the other ports of
// the sequence would be open then, and that one would be silent. So no sequence to the
// ports of the previous minute goes there.
func (k *knocking) addresses(previous bool) (list []target) {
	for _, t := range k.targets {
		if !previous || !k.found.icmp[t.knock] {
			list = append(list, t)
		}
	}
	return list
}

// previousMinute returns the time with which the client stamps a sequence to the ports
// of the previous minute: its last second. Ok: the last attempt used the ports of this
// minute, one of which another program may hold, and this minute is not the first of
// Unix time, as on a computer that has no clock without power.
//
// The ports of the next minute may be open, too, but their timestamps are in the future.
// If no server listens, or the packets are lost, an attacker who has read them could
// replay them to a server that starts meanwhile: it rejects only timestamps up to its
// start. And a server that does not wait for its disk would reject all timestamps up to
// these after a crash.
func (k *knocking) previousMinute() (stamp time.Time, ok bool) {
	this := schedule.MinuteOf(k.cfg.Now())
	return this.Start().Add(-time.Second), this == k.minute && this > 0
}

// send sends a sequence with new nonces to an address.
func (k *knocking) send(ctx context.Context, t target, seq sequence) (*trial, error) {
	cfg := k.cfg
	base, moved, err := k.reserve(ctx, seq)
	if err != nil {
		return nil, err
	}
	stamp, _ := k.previousMinute()
	if !seq.previous {
		stamp = cfg.Now()
		k.minute = schedule.MinuteOf(stamp)
	}
	knocks, err := Sequence(cfg.Profile, stamp, base)
	if err != nil {
		return nil, err
	}
	tr := &trial{target: t, sequence: seq, base: base, moved: moved, minute: schedule.MinuteOf(stamp)}
	var ports []uint16
	if tr.target, ports, err = k.drawTarget(t, tr.minute); err != nil {
		return nil, err
	}
	if cfg.Profile.Bind == BindISN && cfg.Keep {
		tr.isn = wire.ISNOfAttempt(cfg.Profile.Secret, cfg.Profile.Identifier, base)
	}
	switch {
	case t.rotates && cfg.Watch != WatchNone:
		tr.drawn = k.candidates(tr.target, ports, tr.minute)
	case seq.attempt == 1 && t.watched() && cfg.checksBefore():
		tr.early = beginEarly(t.service)
	}
	if tr.sender, err = send(t.knock, knocks); err != nil {
		tr.early.close()
		k.settleCandidates(tr.drawn)
		return nil, &sendError{err}
	}
	cfg.Report(Sent{
		Attempt: seq.attempt, Address: t.knock, Packets: knocks, Base: base, Drawn: ports,
		Previous: seq.previous, ByClock: seq.byClock,
	})
	return tr, nil
}

// attempt sends a sequence to each address, one after the other, until a service
// answers. It goes on to the next address at once if it receives an ICMP error.
func (k *knocking) attempt(ctx context.Context, seq sequence) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	targets, n := k.addresses(seq.previous), seq.attempt
	ended := make(chan *trial, len(targets))
	running := 0
	defer func() {
		for ; running > 0; running-- {
			tr := <-ended
			tr.conn.closeInOrder()
		}
	}()
	defer cancel()
	var unsent []error
	for i, t := range targets {
		tr, err := k.send(ctx, t, seq)
		if isSendError(err) {
			unsent = append(unsent, err)
			continue
		} else if err != nil {
			return Result{}, err
		}
		tr.index = i
		if k.found.at == t.service {
			tr.earlier = k.found.before
		}
		running++
		watch := func() {
			k.watch(ctx, tr)
			ended <- tr
		}
		if len(targets) == 1 {
			watch() // on this thread, which may be in another network namespace
		} else {
			go watch()
		}
		var next <-chan time.Time
		if i < len(targets)-1 {
			next = time.After(addressPause)
		}
		for waiting := true; waiting && running > 0; {
			select {
			case <-next:
				waiting = false
			case tr := <-ended:
				running--
				if tr.err == nil {
					return k.answered(ctx, n, tr)
				}
				k.unanswered(ctx, n, tr)
				waiting = next == nil
			}
		}
	}
	for ; running > 0; running-- {
		tr := <-ended
		if tr.err == nil {
			running--
			return k.answered(ctx, n, tr)
		}
		k.unanswered(ctx, n, tr)
	}
	if len(unsent) > 0 && len(unsent) == len(targets) {
		return Result{}, k.cannotSend(n, unsent)
	}
	return Result{}, errUnanswered
}

// watch watches the service of a trial, until an ICMP error shows that the sequence is
// not complete.
func (k *knocking) watch(ctx context.Context, tr *trial) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer tr.early.close()
	defer tr.sender.Close()
	if canReceiveICMP {
		go tr.sender.awaitICMP(func() { time.AfterFunc(afterICMP, cancel) })
	}
	timeout := k.cfg.Timeout
	if tr.previous {
		timeout = min(timeout, previousTime)
	}
	halfOpen := !k.cfg.Keep && k.cfg.Watch != WatchConnection
	if tr.drawn != nil {
		tr.sighting, tr.service = drawnWatch{list: tr.drawn, timeout: timeout, halfOpen: halfOpen, isn: tr.isn}.wait(ctx)
	} else {
		tr.sighting = watcher{
			service: tr.service, timeout: timeout, halfOpen: halfOpen, early: tr.early, earlier: tr.earlier, isn: tr.isn,
		}.wait(ctx)
	}
	tr.icmp = tr.sender.icmp()
	if tr.err == nil && !k.cfg.Keep {
		tr.conn.closeInOrder()
		tr.settle(ctx)
		tr.conn = nil
	}
}

func (k *knocking) answered(ctx context.Context, n int, tr *trial) (Result, error) {
	k.settleCandidates(tr.drawn)
	if err := ctx.Err(); err != nil {
		tr.conn.closeInOrder()
		return Result{}, err
	}
	if tr.drawn != nil {
		// Without the record, the next connection of this minute waits for another port.
		k.cfg.Nonces.see(ctx, k.cfg.Profile.Rotation.Service, tr.minute, tr.service)
	}
	// After an error, the next attempts only move ahead too early.
	if tr.before == beforeOpen {
		k.cfg.Nonces.unknown(ctx)
	} else {
		k.cfg.Nonces.Opened(ctx, tr.base, k.cfg.Profile.Ports, tr.before != beforeUnknown)
		// If a drawn port was open already, an earlier attempt may have opened it, and the
		// client has only not used it.
		if tr.moved && !errors.Is(k.found.service, errTaken) {
			k.cfg.Report(Moved{Previous: tr.previous})
		}
	}
	return Result{
		Address: tr.knock, Service: tr.service, Watched: true, Attempts: n, Conn: tr.conn,
		OpenBefore: n == 1 && tr.before == beforeOpen && k.cfg.CheckBefore, Rejected: len(tr.icmp) > 0,
	}, nil
}

func (k *knocking) unanswered(ctx context.Context, n int, tr *trial) {
	k.settleCandidates(tr.drawn)
	if tr.previous || tr.byClock {
		return // these ports may be closed, and the server may refuse these nonces: no finding
	}
	k.found.add(tr)
	if ctx.Err() == nil {
		k.cfg.Report(unanswered(n, tr, tr.icmp))
	}
}

func unanswered(n int, tr *trial, errs icmpErrors) Unanswered {
	refused := errs.count(portUnreachable)
	return Unanswered{Attempt: n, Address: tr.knock, Service: tr.service, Err: tr.err, Refused: refused, Blocked: len(errs) - refused}
}

// certain reports whether further attempts would have the same result as those made.
func (k *knocking) certain(attempts int) bool {
	switch {
	case closedByProgram(k.found.service):
		return true
	case attempts < enoughAttempts:
		return false
	case k.found.letIn():
		return true
	}
	for _, t := range k.targets {
		if !k.found.rejected[t.knock] {
			return false
		}
	}
	return true
}

// sendError is the error of packets that this computer could not send.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

func isSendError(err error) bool {
	var sending *sendError
	return errors.As(err, &sending)
}
