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
	ports map[uint16]netip.Addr // of the knocks: where each went

	mu     sync.Mutex
	errors icmpErrors // so far
}

// send sends a sequence from one socket, back to back. It fails only if this computer
// cannot send: whether the knocks arrive is unknown. If the knocks go to several gateways,
// local is the source of all of them.
func send(to, local netip.Addr, knocks []Packet) (*sender, error) {
	network := "udp6"
	if to.Is4() {
		network = "udp4"
	}
	var from *net.UDPAddr
	if len(knocks) > 0 && knocks[0].Address.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := net.ListenUDP(network, from)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	s := &sender{UDPConn: conn, ports: map[uint16]netip.Addr{}, errors: icmpErrors{}}
	s.enableICMPErrors(to.Is4())
	for _, k := range knocks {
		at := to
		if k.Address.IsValid() {
			at = k.Address
		}
		s.ports[k.Port] = at
		if err := s.sendOne(netip.AddrPortFrom(at, k.Port), k.Datagram); err != nil {
			s.Close()
			return nil, fmt.Errorf("send to %s: %w", at, err)
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
