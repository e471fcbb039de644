package exchanges

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// challengeTimeout is how long an honest client waits for the challenge.
const challengeTimeout = time.Second

// honest makes one exchange from an address, without a retry, and returns the time
// until the challenge; 0: it did not arrive.
func honest(o *exchange.Operation, from, server netip.Addr) (took time.Duration, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return 0, fmt.Errorf("open the client's socket: %w", err)
	}
	defer conn.Close()
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	c, err := exchange.NewInitiator(o, from, server, nonce)
	if err != nil {
		return 0, err
	}
	if err := sendMessage(conn, plan.Request, server, c.Request()); err != nil {
		return 0, err
	}
	requested := time.Now()
	if err := conn.SetReadDeadline(requested.Add(challengeTimeout)); err != nil {
		return 0, err
	}
	b := make([]byte, exchange.MaxChallenge)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("wait for a challenge: %w", err)
		}
		answer, err := c.Answer(b[:n])
		if err != nil {
			continue
		}
		return max(time.Since(requested), 1), sendMessage(conn, plan.Response, server, answer.Response)
	}
}

func sendMessage(conn *net.UDPConn, e challenge.Encoding, server netip.Addr, message []byte) error {
	codec, err := e.Codec(len(message))
	if err != nil {
		return err
	}
	ports, err := codec.AppendPorts(nil, message)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if _, err := conn.WriteToUDPAddrPort(nil, netip.AddrPortFrom(server, p)); err != nil {
			return fmt.Errorf("send a packet: %w", err)
		}
	}
	return nil
}
