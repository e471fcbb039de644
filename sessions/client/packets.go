package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"sallyport/sessions/syserror"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// exchangeConn is the socket of one exchange.
type exchangeConn struct {
	*net.UDPConn
	self      netip.Addr
	servers   []netip.Addr            // one, or those over which the packets are spread
	twice     bool                    // each packet goes to two of these
	requested map[netip.AddrPort]bool // where the client sent the request
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
	return &exchangeConn{UDPConn: conn, self: self.Unmap(), servers: []netip.Addr{server}, requested: map[netip.AddrPort]bool{}}, nil
}

// sendRequest sends a request.
func (s *exchangeConn) sendRequest(ctx context.Context, c *challenge.Codec, i *exchange.Initiator) error {
	ports, err := c.AppendPorts(nil, i.Request())
	if err != nil {
		return err
	}
	for i, port := range ports {
		for _, to := range spreadOver(i, len(ports), len(s.servers), s.twice) {
			s.requested[netip.AddrPortFrom(s.servers[to].WithZone(""), port)] = true
		}
	}
	last := func() {}
	if !i.Authenticates() && c.Delay() > 0 {
		// The server has no complete request yet: a challenge that is here already is
		// forged. Over a long request, a forger would have the time to try all ports.
		last = s.discard
	}
	return s.sendPackets(ctx, c, ports, last)
}

// sendMessage sends a message, encoded in the ports of empty packets.
func (s *exchangeConn) sendMessage(ctx context.Context, c *challenge.Codec, message []byte) error {
	ports, err := c.AppendPorts(nil, message)
	if err != nil {
		return err
	}
	return s.sendPackets(ctx, c, ports, func() {})
}

// sendPackets calls last before the last packet.
func (s *exchangeConn) sendPackets(ctx context.Context, c *challenge.Codec, ports []uint16, last func()) error {
	for i, port := range ports {
		if i > 0 && c.Delay() > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(c.Delay()):
			}
		}
		if i == len(ports)-1 {
			last()
		}
		for _, to := range spreadOver(i, len(ports), len(s.servers), s.twice) {
			if err := s.sendPacket(netip.AddrPortFrom(s.servers[to], port)); err != nil {
				return fmt.Errorf("send to %s: %w", s.servers[to], err)
			}
		}
	}
	return nil
}

// sendPacket sends an empty packet. On some systems, the call returns the ICMP error of
// an earlier packet and sends nothing. It then tries again: the ports are closed, so
// ICMP errors are normal.
func (s *exchangeConn) sendPacket(to netip.AddrPort) (err error) {
	const maxTries = 8
	for range maxTries {
		if _, err = s.WriteToUDPAddrPort(nil, to); !syserror.NoPort.In(err) {
			return err
		}
	}
	return err
}

// discard discards the datagrams that have arrived.
func (s *exchangeConn) discard() {
	if s.SetReadDeadline(time.Now().Add(queueTime)) != nil {
		return
	}
	var b [1]byte
	for {
		_, _, err := s.ReadFromUDPAddrPort(b[:])
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// queueTime is how long reading the datagrams that have arrived takes at most.
const queueTime = time.Millisecond

// nextChallenge waits for an authentic challenge until a time, and returns the answer
// to it. It ignores challenges that are not authentic, and datagrams that do not come
// from a port to which the request went: the authentic one may still arrive. The
// server sends it from the port of the packet that arrived last, and the network
// decides which one that is.
func (s *exchangeConn) nextChallenge(c *exchange.Initiator, end time.Time, found *exchangeFindings) (exchange.Answer, error) {
	if err := s.SetReadDeadline(end); err != nil {
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
		}
		server := from.Addr().Unmap().WithZone("")
		if !s.requested[netip.AddrPortFrom(server, from.Port())] {
			continue
		}
		answer, err := c.At(server).Answer(b[:n])
		if err == nil {
			return answer, nil
		}
		found.forged++
	}
}
