package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// sender is the socket of one sequence. It stays open to receive ICMP errors.
type sender struct {
	*net.UDPConn
	icmpErrors map[syscall.Errno]int // the number of ICMP errors so far, by their meaning
}

// send sends a sequence from one socket, back to back. It fails only if this computer
// cannot send: whether the knocks arrive is unknown.
func send(to netip.Addr, knocks []Packet) (*sender, error) {
	network := "udp6"
	if to.Is4() {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	s := &sender{conn, map[syscall.Errno]int{}}
	s.enableICMPErrors(to.Is4())
	for _, k := range knocks {
		if err := s.sendOne(netip.AddrPortFrom(to, k.Port), k.Datagram); err != nil {
			s.Close()
			return nil, fmt.Errorf("send to %s: %w", to, err)
		}
	}
	return s, nil
}

// sendOne retries while the socket reports an ICMP error of an earlier knock: such a
// call sent nothing.
func (s *sender) sendOne(to netip.AddrPort, datagram []byte) (err error) {
	const maxTries = 8
	for range maxTries {
		_, err = s.WriteToUDPAddrPort(datagram, to)
		if err == nil || !s.readICMPErrors() && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return err
}
