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

// patience is how long an honest client waits for the challenge.
const patience = time.Second

// honest does one exchange from an address, and returns how long the challenge
// took; 0: none came. It tries once.
func honest(o *exchange.Operation, from, server netip.Addr) (took time.Duration, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return 0, fmt.Errorf("make a client: %w", err)
	}
	defer conn.Close()
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	c, err := exchange.NewInitiator(o, from, server, nonce)
	if err != nil {
		return 0, err
	}
	if err := say(conn, plan.Request, server, c.Request()); err != nil {
		return 0, err
	}
	asked := time.Now()
	if err := conn.SetReadDeadline(asked.Add(patience)); err != nil {
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
		return max(time.Since(asked), 1), say(conn, plan.Response, server, answer.Response)
	}
}

func say(conn *net.UDPConn, e challenge.Encoding, server netip.Addr, message []byte) error {
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
			return fmt.Errorf("knock: %w", err)
		}
	}
	return nil
}
