package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// transport carries the messages of one exchange: exchangeConn by UDP, synConn by TCP,
// carriedConn by HTTP or DNS. The codecs have no meaning for the last one.
type transport interface {
	// address is the address of this computer, as it sees it (ID_A).
	address() netip.Addr
	// peer is the address of the server as this computer sees it (PID_B).
	peer(server netip.Addr) netip.Addr
	// source is the address from which this computer sends; invalid: unknown.
	source() netip.Addr
	sendRequest(context.Context, *challenge.Codec, *exchange.Initiator) error
	sendMessage(context.Context, *challenge.Codec, []byte) error
	// awaitChallenge waits for the challenge, and returns the answer to it.
	awaitChallenge(*exchange.Initiator, time.Duration, io.Reader, *exchangeFindings) (exchange.Answer, error)
	// checkAnswered looks for another challenge than the answered one, after the
	// service did not open.
	checkAnswered(*exchange.Initiator, exchange.Answer, *exchangeFindings)
	Close() error
}

func (s *exchangeConn) address() netip.Addr               { return s.self }
func (s *exchangeConn) source() netip.Addr                { return s.self }
func (s *exchangeConn) peer(server netip.Addr) netip.Addr { return server }

// openTransport opens the transport of an exchange with a server.
func (x *exchanging) openTransport(ctx context.Context, server netip.Addr, attempt int) (transport, error) {
	switch list := x.spread[server]; {
	case list != nil:
		return newSpreadConn(list, attempt)
	case x.by != CarrierPackets:
		return x.newCarried(ctx, server)
	case x.cfg.Challenge.AnswerPort != 0:
		return newSYNConn(server, x.cfg.Challenge.AnswerPort)
	}
	return newExchangeConn(server)
}

// sourceAddress returns the address that this computer uses for a server, with its
// zone, and the network of UDP sockets. It sends nothing.
func sourceAddress(server netip.Addr) (network string, self netip.Addr, err error) {
	network = "udp6"
	if server.Is4() {
		network = "udp4"
	}
	probe, err := net.Dial(network, netip.AddrPortFrom(server, 9).String())
	if err != nil {
		return "", self, fmt.Errorf("find the source address for %s: %w", server, err)
	}
	defer probe.Close()
	return network, probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}

// blocked returns the packets that a firewall may block if no challenge arrives.
func (c Challenge) blocked() string {
	first := min(c.Request.Base, c.Response.Base)
	if c.AnswerPort != 0 {
		return fmt.Sprintf("TCP to ports %d and above, or to port %d, where the challenge waits", first, c.AnswerPort)
	}
	return fmt.Sprintf("UDP to ports %d and above, or the challenge", first)
}

// ports returns the ports of the server to which the client sends.
func (c Challenge) ports() string {
	first := min(c.Request.Base, c.Response.Base)
	if c.AnswerPort != 0 {
		return fmt.Sprintf("TCP to ports %d and above, and to port %d", first, c.AnswerPort)
	}
	return fmt.Sprintf("UDP to ports %d and above", first)
}
