package gate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// Moved is a connection of a proxy that another process can carry on: nothing of it is in
// this process. When its last descriptor is closed, both sides are reset.
//
// It is a connection to the service's own port, of known clients. Those of random ports and
// tunnels belong to a command, which ends with the process. A service with a program ends
// with that, and one with commands is closed by them.
type Moved struct {
	Service  string
	Upstream relay.Upstream
	Owners   []wire.Identifier // the clients that may have opened it; one, if it is known
	Proved   bool              // it has proved that it is its client's
	// Leased: a lease of an owner admitted its address when it was paused. Otherwise it had
	// outlived its lease.
	Leased         bool
	Client, Server *os.File // its socket, and the one to the upstream
}

// Close closes the descriptors.
func (m Moved) Close() {
	m.Client.Close()
	m.Server.Close()
}

// moves reports whether connections of the service can be carried on by another process.
func (s *Service) moves() bool { return s.backend == nil && s.commands == nil && s.rotation == nil }

// hasLease reports whether a client has a lease that admits an address, whether it is in
// effect or not.
func (s *Service) hasLease(client wire.Identifier, from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holdsLease(client, from)
}

// movable reports whether another process can carry a connection on.
func (c *conn) movable() bool {
	return c.tcp.leases != nil && c.port == nil && c.remote == nil && c.owners.Known()
}

// give takes a paused connection away from its enforcer. It returns false if the connection
// was cut meanwhile: a revocation either finds it here, or the next process finds out.
func (c *conn) give(p relay.Pair) (m Moved, ok bool) {
	t, from := c.tcp, remote(c.RemoteAddr())
	c.owners.Each(func(id wire.Identifier) {
		m.Owners = append(m.Owners, id)
		m.Leased = m.Leased || t.leases(id, from) // before the lock, which a Service takes later
	})
	m.Proved = c.proved
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, lives := t.conns[c]; !lives {
		return m, false
	}
	var err error
	if m.Client, err = p.Client.File(); err != nil {
		return m, false
	}
	if up, ok := p.Upstream.(interface{ File() (*os.File, error) }); ok {
		m.Server, err = up.File()
	}
	if err != nil || m.Server == nil {
		m.Client.Close()
		return m, false
	}
	resetAtClose(p, true)
	t.untrack(c)
	return m, true
}

// resetAtClose makes the last close of a pair reset both sides: incomplete data would
// otherwise pass for complete.
func resetAtClose(p relay.Pair, on bool) {
	linger := -1
	if on {
		linger = 0
	}
	p.Client.SetLinger(linger)
	if up, ok := p.Upstream.(*net.TCPConn); ok {
		up.SetLinger(linger)
	}
}

// take adds a paused connection to those that move.
func (p *Proxy) take(c *conn, pair relay.Pair, to relay.Upstream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return false
	}
	m, ok := c.give(pair)
	if ok {
		m.Upstream = to
		p.moved = append(p.moved, m)
	}
	return ok
}

// adopter is a Handler that carries connections on.
type adopter interface {
	adopts(relay.Upstream) error
	adopt(*conn, relay.Pair)
}

// Adopt carries a connection on that another process has paused, and takes over its
// descriptors. Valid reports whether an owner still is the client that it was. An error
// means that the connection was reset.
func (s *Services) Adopt(m Moved, valid func(wire.Identifier) bool) (err error) {
	defer m.Close()
	client, err := net.FileConn(m.Client)
	if err != nil {
		return fmt.Errorf("take the client's connection over: %w", err)
	}
	server, err := net.FileConn(m.Server)
	if err != nil {
		client.Close()
		return fmt.Errorf("take the upstream's connection over: %w", err)
	}
	defer func() {
		if err != nil {
			reset(client)
			reset(server)
		}
	}()
	tcp, ok := client.(*net.TCPConn)
	i, known := s.places[access.ID(m.Service)]
	switch {
	case !ok:
		return fmt.Errorf("expected a connection of TCP, got %T", client)
	case !known:
		return errors.New("the service is gone")
	}
	return s.list[i].adopt(m, relay.Pair{Client: tcp, Upstream: server}, func(id wire.Identifier) (isValid, may bool) {
		return valid(id), s.rights(id).allow(i)
	})
}

// adopt asks for the rights of the owners under the lock: a revocation then either
// precedes it, or finds the connection.
func (s *Service) adopt(m Moved, p relay.Pair, rights func(wire.Identifier) (valid, may bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := remote(p.Client.RemoteAddr())
	now := standing{service: s.moves() && !s.closed && s.obstacle() == nil, valid: len(m.Owners) > 0, may: true, cut: s.terms.Cut}
	for _, id := range m.Owners {
		valid, may := rights(id)
		now.valid, now.may = now.valid && valid, now.may && may
		now.leased = now.leased || s.holdsLease(id, from)
	}
	if reason := now.refuses(m.Leased); reason != "" {
		return errors.New(reason)
	}
	for _, e := range s.enforcers {
		if t, ok := e.(*TCP); ok {
			return t.adopt(m, p, from)
		}
	}
	return errNoProxy
}

// standing is what decides whether a connection of an earlier process goes on.
type standing struct {
	service bool // it can have such connections now
	valid   bool // all owners still are the clients that they were
	may     bool // all may open the service
	leased  bool // a lease of one admits the address
	cut     bool // connections end with their lease
}

// refuses returns why a connection does not go on; empty: it does. A connection without a
// lease goes on only if it has outlived its lease before, as it may here.
func (n standing) refuses(leased bool) string {
	switch {
	case !n.service:
		return "the service is closed, or has changed"
	case !n.valid:
		return "the client is gone, or has a new secret"
	case !n.may:
		return "the client may not open the service"
	case !n.leased && leased:
		return "the lease has ended"
	case !n.leased && n.cut:
		return "connections end with their lease now"
	}
	return ""
}

var (
	errNoProxy = errors.New("the service has no proxy in this process")
	errOther   = errors.New("listen of the service has changed")
)

// listensAt reports whether a socket that listens somewhere may have accepted a connection
// to an address.
func listensAt(listen string, at net.Addr) bool {
	host, port, _ := net.SplitHostPort(listen)
	local, ok := at.(*net.TCPAddr)
	if !ok || strconv.Itoa(local.Port) != port {
		return false
	}
	only, err := netip.ParseAddr(host)
	return err != nil || only.IsUnspecified() || only.Unmap().WithZone("") == local.AddrPort().Addr().Unmap().WithZone("")
}

func (t *TCP) adopt(m Moved, p relay.Pair, from netip.Addr) error {
	a, ok := t.cfg.Handler.(adopter)
	if !ok || (t.cfg.Prover != nil) != m.Proved {
		return errNoProxy
	}
	if err := a.adopts(m.Upstream); err != nil {
		return err
	}
	if !listensAt(t.cfg.Listen, p.Client.LocalAddr()) {
		return errOther
	}
	peer := access.PeerIn(from, t.cfg.PrefixLen4, t.cfg.PrefixLen6)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.finishing {
		return ErrClosed
	}
	if !t.limits.take(peer, t.cfg.PerAddress) {
		return errFull
	}
	tracked := &conn{Conn: p.Client, tcp: t, began: t.cfg.Clock.Boot(), owners: access.OwnedBy(m.Owners...), proved: m.Proved}
	if !t.track(tracked, from) {
		t.limits.release(peer)
		return ErrClosed
	}
	resetAtClose(p, false)
	a.adopt(tracked, p)
	return nil
}
