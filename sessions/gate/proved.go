package gate

import (
	"net"
	"net/netip"
	"slices"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/wire"
)

// A TCP enforcer with a Prover admits a connection in two steps. The lease lets its
// address try. Then the connection proves that it is a client's (package prove), which
// must have a lease itself. From then on it belongs to this client alone.

// maxProved is how many connections that have proved themselves wait for the Handler.
const maxProved = 1024

// proved are the connections of a listener that have proved themselves, and that the
// Handler has not accepted yet.
type proved struct {
	conns chan *conn
	ended chan struct{}
	stop  func() // of the Prover
}

// prove makes the listener return only connections that have proved themselves. The
// listener accepts from then on. The caller holds the lock.
func (l *listener) prove(p *prove.Prover) error {
	l.proved = &proved{conns: make(chan *conn, maxProved), ended: make(chan struct{}), stop: func() {}}
	stop, err := p.Serve(l.Listener, l)
	if err == nil {
		l.proved.stop = stop
	}
	return err
}

func (p *proved) accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *proved) end() {
	if p != nil {
		close(p.ended)
		p.stop()
	}
}

// refuseAll resets the connections that the Handler has not accepted. The caller holds
// the lock.
func (l *listener) refuseAll() {
	for l.proved != nil {
		select {
		case c := <-l.proved.conns:
			l.tcp.untrack(c)
			reset(c.Conn)
		default:
			return
		}
	}
}

// Try implements prove.Target.
func (l *listener) Try(from netip.Addr) (peer netip.Prefix, ok bool) {
	t := l.tcp
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener != l || !t.admitted.Allows(from, t.cfg.Clock.Boot()) {
		return peer, false
	}
	return access.PeerIn(from, t.cfg.PrefixLen4, access.PrefixNetwork).Prefix, true
}

// Own implements prove.Target.
func (l *listener) Own(c *net.TCPConn, client wire.Identifier) (net.Conn, prove.Outcome) {
	t := l.tcp
	from := remote(c.RemoteAddr())
	peer := access.PeerIn(from, t.cfg.PrefixLen4, t.cfg.PrefixLen6)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		reset(c)
		return nil, prove.Revoked
	}
	if !t.limits.take(peer, t.cfg.PerAddress) {
		reset(c)
		return nil, prove.Full
	}
	tracked := &conn{Conn: c, tcp: t, began: t.cfg.Clock.Boot(), owners: access.OwnedBy(client), proved: true}
	if !t.track(tracked, from) {
		t.limits.release(peer)
		reset(c)
		return nil, prove.Closed
	}
	return tracked, prove.Passed
}

// Refuse implements prove.Target.
func (l *listener) Refuse(c net.Conn) {
	tracked := c.(*conn)
	l.tcp.mu.Lock()
	l.tcp.untrack(tracked)
	l.tcp.mu.Unlock()
	reset(tracked.Conn)
}

// Pass implements prove.Target.
func (l *listener) Pass(c net.Conn) bool {
	tracked := c.(*conn)
	t := l.tcp
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, lives := t.conns[tracked]; !lives {
		return false // it was cut meanwhile
	}
	if t.listener == l {
		select {
		case l.proved.conns <- tracked:
			return true
		default:
		}
	}
	t.untrack(tracked)
	reset(tracked.Conn)
	return false
}

// prover is an enforcer whose connections may have to prove themselves.
type prover interface {
	// setLeases sets the leases of the service, and reports whether connections must
	// prove themselves.
	setLeases(prove.Leases) bool
	// cutProved ends connections of clients for which gone returns true and that have
	// proved themselves, unless the client still has a lease for their address.
	cutProved(gone func(wire.Identifier) bool, has prove.Leases)
}

func (t *TCP) setLeases(l prove.Leases) bool {
	if t.cfg.Prover == nil {
		return false
	}
	t.cfg.Prover.SetLeases(l)
	return true
}

func (t *TCP) cutProved(gone func(wire.Identifier) bool, has prove.Leases) {
	t.mu.Lock()
	var ending []*conn
	for c, from := range t.conns {
		over := false
		c.owners.Each(func(id wire.Identifier) { over = over || gone(id) && !has(id, from) })
		if c.proved && over {
			ending = append(ending, c)
			t.untrack(c)
		}
	}
	t.mu.Unlock()
	resetAll(ending)
}

func (r *Rotating) setLeases(l prove.Leases) bool {
	p, ok := r.random.(prover) // all of its ports share one prove.Prover
	return ok && p.setLeases(l)
}

func (r *Rotating) cutProved(gone func(wire.Identifier) bool, has prove.Leases) {
	r.Each(func(p DrawnPort) {
		if p, ok := p.(prover); ok {
			p.cutProved(gone, has)
		}
	})
}

// holds implements prove.Leases.
func (s *Service) holds(client wire.Identifier, from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && s.obstacle() == nil && s.holdsLease(client, from)
}

// holdsLease reports whether a client has a lease that admits an address. The caller
// holds the lock.
func (s *Service) holdsLease(client wire.Identifier, from netip.Addr) bool {
	now := s.clock.Boot()
	return slices.ContainsFunc(s.leases.byClient[client], func(le *lease) bool {
		return !le.pending && now.Before(le.until) && (s.anyone || le.peer.Has(from))
	})
}

// cutProved ends the connections of clients whose leases have ended, if they have proved
// themselves. Other leases may still admit their addresses.
func (s *Service) cutProved(gone []ended, cut bool) {
	if !cut || !s.proves || len(gone) == 0 {
		return
	}
	of := make(map[wire.Identifier]bool, len(gone))
	for _, le := range gone {
		of[le.client] = true
	}
	for _, e := range s.enforcers {
		if p, ok := e.(prover); ok {
			p.cutProved(func(id wire.Identifier) bool { return of[id] }, s.holdsLease)
		}
	}
}
