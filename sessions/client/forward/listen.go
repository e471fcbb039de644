package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Sockets are local sockets of one Word.
type Sockets struct {
	Streams []net.Listener
	Packets []PacketConn
	Local   []string // their addresses, as people read them
}

// Close closes the sockets.
func (s Sockets) Close() {
	for _, l := range s.Streams {
		l.Close()
	}
	for _, p := range s.Packets {
		p.Close()
	}
}

// PublicError is the error of a local address that other computers can reach.
type PublicError struct{ Local string }

func (e *PublicError) Error() string {
	return fmt.Sprintf("%s is not an address of the loopback: any computer that reaches it would get in", e.Local)
}

// Listen opens the local sockets of a Word, at the loopback only unless public. A host
// without the IPv6 loopback has only the IPv4 one.
func Listen(ctx context.Context, w Word, public bool) (s Sockets, err error) {
	defer func() {
		if err != nil {
			s.Close()
			s = Sockets{}
		}
	}()
	for _, at := range w.Addresses() {
		if !w.Local.IsValid() && at.Addr().Is6() && !hasIPv6(ctx) {
			continue
		}
		if err := checkLocal(at.Addr(), at.String(), public); err != nil {
			return s, err
		}
		if err := s.listen(ctx, at, w.UDP); err != nil {
			return s, err
		}
	}
	return s, nil
}

func checkLocal(a netip.Addr, name string, public bool) error {
	if !public && !a.Unmap().IsLoopback() {
		return &PublicError{name}
	}
	return nil
}

func (s *Sockets) listen(ctx context.Context, at netip.AddrPort, udp bool) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	family := "4"
	if at.Addr().Is6() {
		family = "6"
	}
	var listened net.Addr
	if udp {
		p, err := lc.ListenPacket(ctx, "udp"+family, at.String())
		if err != nil {
			return err
		}
		s.Packets = append(s.Packets, p.(*net.UDPConn))
		listened = p.LocalAddr()
	} else {
		l, err := lc.Listen(ctx, "tcp"+family, at.String())
		if err != nil {
			return err
		}
		s.Streams = append(s.Streams, l)
		listened = l.Addr()
	}
	s.Local = append(s.Local, listened.String())
	return nil
}

// hasIPv6 reports whether this computer has the address ::1.
func hasIPv6(ctx context.Context) bool {
	var lc net.ListenConfig
	p, err := lc.ListenPacket(ctx, "udp6", "[::1]:0")
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// Assign leads inherited sockets to words: by the name of the socket, which is that of
// the word's port at the server; else by the local port; else to the only word of their
// protocol. Each word must get a socket, and each socket a word.
func Assign(words []Word, sockets []Socket, public bool) ([]Sockets, error) {
	assigned := make([]Sockets, len(words))
	for _, s := range sockets {
		i := wordOf(words, s)
		if i < 0 {
			return nil, fmt.Errorf("socket %s belongs to none of the ports: expected its local port, or FileDescriptorName= with a port at the server (%s)",
				s.name(), names(words))
		}
		if s.Address.IsValid() {
			if err := checkLocal(s.Address.Addr(), s.Address.String(), public); err != nil {
				return nil, err
			}
		}
		to := &assigned[i]
		if s.Stream != nil {
			to.Streams = append(to.Streams, s.Stream)
		} else {
			to.Packets = append(to.Packets, s.Packet)
		}
		to.Local = append(to.Local, s.Local)
	}
	for i, a := range assigned {
		if len(a.Local) == 0 {
			return nil, fmt.Errorf("no socket was passed for %s", words[i])
		}
	}
	return assigned, nil
}

// Socket is an inherited socket.
type Socket struct {
	Name    string         // of LISTEN_FDNAMES
	Local   string         // its address, as people read it
	Address netip.AddrPort // invalid: a Unix socket
	Stream  net.Listener   // nil: Packet
	Packet  PacketConn
}

func (s Socket) name() string {
	if s.Name != "" {
		return fmt.Sprintf("%s (%q)", s.Local, s.Name)
	}
	return s.Local
}

// wordOf returns the index of the word to which a socket belongs; -1: none.
func wordOf(words []Word, s Socket) int {
	udp := s.Stream == nil
	only, byPort, same := -1, -1, 0
	for i, w := range words {
		if w.UDP != udp {
			continue
		}
		if s.Name == w.Name() || s.Name == w.remote() {
			return i
		}
		if s.Address.IsValid() && s.Address.Port() == w.LocalPort && byPort < 0 {
			byPort = i
		}
		only, same = i, same+1
	}
	switch {
	case byPort >= 0:
		return byPort
	case same == 1:
		return only
	}
	return -1
}

func names(words []Word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w.Name()
	}
	return strings.Join(list, ", ")
}
