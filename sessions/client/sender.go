package client

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"

	"sallyport/sessions/syserror"
)

// sender is the socket of one sequence. It stays open to receive ICMP errors.
type sender struct {
	*net.UDPConn
	to    netip.Addr
	ports map[uint16]bool // of the knocks

	mu     sync.Mutex
	errors icmpErrors // so far
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
	s := &sender{UDPConn: conn, to: to, ports: map[uint16]bool{}, errors: icmpErrors{}}
	s.enableICMPErrors(to.Is4())
	for _, k := range knocks {
		s.ports[k.Port] = true
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
		if err == nil || !s.readICMPErrors() && !syserror.NoPort.In(err) {
			return err
		}
	}
	return err
}

// icmp returns the ICMP errors so far.
func (s *sender) icmp() icmpErrors {
	s.readICMPErrors()
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.errors)
}

// awaitICMP calls found whenever there are more ICMP errors, until the socket is closed.
func (s *sender) awaitICMP(found func()) {
	for known := 0; ; {
		if n := len(s.icmp()); n > known {
			known = n
			found()
		}
		if _, _, err := s.ReadFromUDPAddrPort(make([]byte, 1)); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
