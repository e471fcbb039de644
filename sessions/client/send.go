package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// sender is the socket of one sequence, kept open for the refusals that come
// back by ICMP.
type sender struct {
	*net.UDPConn
	refused map[syscall.Errno]int // ICMP errors so far, by what they mean
}

// send sends a sequence from one socket, back to back. The error says what
// keeps the knocks from leaving this computer; nothing else can be known.
func send(to netip.Addr, knocks []Packet) (*sender, error) {
	network := "udp6"
	if to.Is4() {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	s := &sender{conn, map[syscall.Errno]int{}}
	s.wantRefusals(to.Is4())
	for _, k := range knocks {
		if err := s.sendOne(netip.AddrPortFrom(to, k.Port), k.Datagram); err != nil {
			s.Close()
			return nil, fmt.Errorf("knock at %s: %w", to, err)
		}
	}
	return s, nil
}

// sendOne tries again while the socket reports what came back by ICMP for an
// earlier knock: such a call has sent nothing.
func (s *sender) sendOne(to netip.AddrPort, datagram []byte) (err error) {
	const tries = 8
	for range tries {
		_, err = s.WriteToUDPAddrPort(datagram, to)
		if err == nil || !s.collect() && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return err
}
