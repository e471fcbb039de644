package relay

import (
	"net"
	"net/netip"
)

// one is for a socket that carries one flow. The relay's lock guards it.
type one struct {
	allows func(netip.Addr) bool
	begins func()
	begun  bool
}

// ServeSingleFlow carries one flow: the first from an address that allows lets in. It
// counts as one of the relay's, but Cut leaves it alone: who closes the socket
// ends it. From then on the socket hears nobody else. When the flow is over, or
// the socket is closed before, ServeSingleFlow returns, and the socket is closed. Both
// functions are called under the relay's lock: they must be quick, and not call
// back. begins is told that there is a flow; nil: nobody is.
func (u *UDP) ServeSingleFlow(conn *net.UDPConn, allows func(netip.Addr) bool, begins func()) error {
	defer conn.Close()
	return u.serve(conn, &one{allows: allows, begins: begins})
}

// allows is whether an address may begin a flow of a socket. The caller holds
// the lock.
func (u *UDP) allows(s *socket, a netip.Addr) bool {
	if s.one == nil {
		return u.cfg.Allows(a)
	}
	return !s.one.begun && s.one.allows(a)
}

func (s *socket) begins() {
	if s.one == nil {
		return
	}
	s.one.begun = true
	if s.one.begins != nil {
		s.one.begins()
	}
}

// ends closes a socket whose one flow is over.
func (s *socket) ends() {
	if s.one != nil {
		s.conn.Close()
	}
}
