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

// exchangeConn is the socket of one exchange.
type exchangeConn struct {
	*net.UDPConn
	self, server netip.Addr
	last         uint16 // the port to which the last packet went
}

// newExchangeConn opens a socket with the address that this computer uses for the
// server: the client needs it for the protocol (ID_A). The socket is not connected,
// since each packet goes to another port, and most of these ports are closed.
func newExchangeConn(server netip.Addr) (*exchangeConn, error) {
	network, self, err := sourceAddress(server)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(self, 0)))
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	return &exchangeConn{UDPConn: conn, self: self.Unmap(), server: server}, nil
}

// sendMessage sends a message, encoded in the ports of empty packets.
func (s *exchangeConn) sendMessage(ctx context.Context, c *challenge.Codec, message []byte) error {
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
		if err := s.sendPacket(netip.AddrPortFrom(s.server, port)); err != nil {
			return fmt.Errorf("send to %s: %w", s.server, err)
		}
		s.last = port
	}
	return nil
}

// sendPacket sends an empty packet. On some systems, the call returns the ICMP error of
// an earlier packet and sends nothing. It then tries again: the ports are closed, so
// ICMP errors are normal.
func (s *exchangeConn) sendPacket(to netip.AddrPort) (err error) {
	const maxTries = 8
	for range maxTries {
		if _, err = s.WriteToUDPAddrPort(nil, to); !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return err
}

// awaitChallenge waits for the challenge, and returns the answer to it. It ignores
// datagrams from other addresses and challenges that are not authentic, since the
// authentic one may still arrive.
func (s *exchangeConn) awaitChallenge(
	c *exchange.Initiator, timeout time.Duration, found *exchangeFindings,
) (exchange.Answer, error) {
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
			found.forged++
			continue
		}
		found.challenged++
		return answer, nil
	}
}
