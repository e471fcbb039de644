package relay

import (
	"net"
	"net/netip"
)

// singleFlow is the state of a socket that carries one flow. The relay's lock
// guards it.
type singleFlow struct {
	allows func(netip.Addr) bool
	begins func()
	begun  bool
}

// ServeSingleFlow carries one flow: the first from an address that allows
// accepts. The flow counts as one of the relay's, but Cut ignores it: closing
// the socket ends it. From its begin on, the socket ignores other addresses.
// ServeSingleFlow returns, and closes the socket, when the flow ends or the
// socket is closed. The relay calls allows, and begins when there is a flow
// (nil: no call), under its lock: they must be quick, and not call back.
func (u *UDP) ServeSingleFlow(conn *net.UDPConn, allows func(netip.Addr) bool, begins func()) error {
	defer conn.Close()
	return u.serve(conn, &singleFlow{allows: allows, begins: begins})
}

// allows reports whether an address may begin a flow of a socket. The caller
// holds the lock.
func (u *UDP) allows(s *socket, a netip.Addr) bool {
	if s.single == nil {
		return u.cfg.Allows(a)
	}
	return !s.single.begun && s.single.allows(a)
}

func (s *socket) begins() {
	if s.single == nil {
		return
	}
	s.single.begun = true
	if s.single.begins != nil {
		s.single.begins()
	}
}

// ends closes a socket whose single flow has ended.
func (s *socket) ends() {
	if s.single != nil {
		s.conn.Close()
	}
}
