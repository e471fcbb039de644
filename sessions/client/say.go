package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// speaker is the socket of one exchange.
type speaker struct {
	*net.UDPConn
	self, server netip.Addr
	last         uint16 // the port that was knocked last
}

// dialKnocks makes a socket with the address from which the system reaches the
// server: the client has to know it (ID_A). It is not connected, since each packet
// goes to another port, and most of those are closed.
func dialKnocks(server netip.Addr) (*speaker, error) {
	network := "udp6"
	if server.Is4() {
		network = "udp4"
	}
	probe, err := net.Dial(network, netip.AddrPortFrom(server, 9).String()) // nothing is sent
	if err != nil {
		return nil, fmt.Errorf("find the way to %s: %w", server, err)
	}
	self := probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	probe.Close()
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(self, 0)))
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	return &speaker{UDPConn: conn, self: self.Unmap(), server: server}, nil
}

// say sends a message.
func (s *speaker) say(ctx context.Context, c *challenge.Codec, message []byte) error {
	ports, err := c.AppendPorts(nil, message)
	if err != nil {
		return err
	}
	for i, port := range ports {
		if i > 0 && c.Delay() > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(c.Delay()):
			}
		}
		if err := s.knock(netip.AddrPortFrom(s.server, port)); err != nil {
			return fmt.Errorf("knock at %s: %w", s.server, err)
		}
		s.last = port
	}
	return nil
}

// knock sends an empty packet. Some systems tell a socket of what came back by
// ICMP for an earlier one, and have then sent nothing: closed ports are what is
// expected.
func (s *speaker) knock(to netip.AddrPort) (err error) {
	const tries = 8
	for range tries {
		if _, err = s.WriteToUDPAddrPort(nil, to); !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return err
}

// await waits for the challenge. What comes from elsewhere, or is not
// authentic, is passed over: the right one may still come.
func (s *speaker) await(c *exchange.Initiator, timeout time.Duration, seen *exchanged) (exchange.Answer, error) {
	if err := s.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return exchange.Answer{}, err
	}
	b := make([]byte, exchange.MaxChallenge+1)
	for {
		n, from, err := s.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return exchange.Answer{}, err
		case err != nil: // an ICMP error, or a datagram that is too long
			continue
		case from.Addr().Unmap().WithZone("") != s.server.WithZone("") || from.Port() != s.last:
			continue
		}
		answer, err := c.Answer(b[:n])
		if err != nil {
			seen.forged++
			continue
		}
		seen.challenged++
		return answer, nil
	}
}
