package soak

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/client"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

const (
	knocks  = 3
	active  = 8 // clients that knock at a time
	pause   = 400 * time.Millisecond
	keep    = 64 // captured attempts, the last ones
	lookFor = time.Second
)

// The operation's secret. It need not be secret: the server is reachable only from the
// networks that this package makes.
const (
	operationID = "soak-open"
	secret      = "floodbench floodbench floodbench"
)

// plan is the server's default.
var plan = challenge.Plan{
	Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
	Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
}

// clients are the honest clients, and an attacker that records their packets.
type clients struct {
	judge     *Judge
	operation *exchange.Operation

	mu       sync.Mutex
	profiles []client.Profile // a revoked one is replaced by the next
	next     int
	nonces   map[string]uint32
	address  netip.Addr // of the last attempt
	captured []capture
	last     map[string]netip.Addr // of the last attempt of each client
	in       map[string]int        // attempts by which a client got in, by protocol
}

// capture is all packets of an attempt.
type capture struct {
	from    netip.Addr
	packets []client.Packet
}

// newAddress returns an address for an attempt.
func (c *clients) newAddress() netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.address = c.address.Next()
	return c.address
}

// pick returns client i of those that knock now, with nonces for an attempt.
func (c *clients) pick(i int) (p client.Profile, base uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = c.profiles[i]
	base = c.nonces[p.Identifier.String()]
	c.nonces[p.Identifier.String()] = base + knocks
	return p, base
}

// keep keeps the packets of an attempt.
func (c *clients) keep(k capture, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.captured = append(c.captured[max(0, len(c.captured)-keep+1):], k)
	c.last[name] = k.from
}

// knock makes attempts of client i until ctx ends: one in eight lacks the last knock.
func (c *clients) knock(ctx context.Context, i int) error {
	for ctx.Err() == nil {
		p, base := c.pick(i)
		packets, err := client.Sequence(p, time.Now(), base)
		if err != nil {
			return err
		}
		from, name := c.newAddress(), p.Identifier.String()
		c.judge.Begin(from, name, knocks)
		whole := mathrand.IntN(8) > 0
		if !whole {
			packets = packets[:knocks-1]
			c.judge.Count(func(n *Counts) { n.Incomplete++ })
		} else {
			c.judge.Count(func(n *Counts) { n.Sequences++ })
		}
		if err := c.send(capture{from, packets}, true); err != nil {
			return err
		}
		c.keep(capture{from, packets}, name)
		c.observe(ctx, from, "sequence", whole)
	}
	return nil
}

// exchange makes exchanges until ctx ends.
func (c *clients) exchange(ctx context.Context) error {
	for ctx.Err() == nil {
		from := c.newAddress()
		answered, err := c.exchangeFrom(from)
		if err != nil {
			return err
		}
		c.observe(ctx, from, "exchange", answered)
	}
	return nil
}

// exchangeFrom makes an exchange, and reports whether there was a challenge.
func (c *clients) exchangeFrom(from netip.Addr) (answered bool, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return false, fmt.Errorf("open a client's socket: %w", err)
	}
	defer conn.Close()
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	initiator, err := exchange.NewInitiator(c.operation, from, serverAddress, nonce)
	if err != nil {
		return false, err
	}
	request, err := empty(plan.Request, initiator.Request())
	if err != nil {
		return false, err
	}
	c.judge.Begin(from, "", len(request)+1) // and at least one packet of a response
	if err := c.write(conn, capture{from, request}, true); err != nil {
		return false, err
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, exchange.MaxChallenge)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return false, nil // no challenge: the server is down, or has no time
		}
		answer, err := initiator.Answer(b[:n])
		if err != nil {
			continue
		}
		response, err := empty(plan.Response, answer.Response)
		if err != nil {
			return false, err
		}
		c.judge.Begin(from, "", len(response))
		if err := c.write(conn, capture{from, response}, true); err != nil {
			return false, err
		}
		c.judge.Count(func(n *Counts) { n.Exchanges++ })
		c.keep(capture{from, append(request, response...)}, "")
		return true, nil
	}
}

func empty(e challenge.Encoding, message []byte) (packets []client.Packet, err error) {
	codec, err := e.Codec(len(message))
	if err != nil {
		return nil, err
	}
	ports, err := codec.AppendPorts(nil, message)
	for _, p := range ports {
		packets = append(packets, client.Packet{Port: p})
	}
	return packets, err
}

// send sends packets from a new socket. If they are an attempt, the judge knows of
// each before it is sent.
func (c *clients) send(k capture, attempt bool) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(k.from, 0)))
	if err != nil {
		return fmt.Errorf("open a client's socket: %w", err)
	}
	defer conn.Close()
	return c.write(conn, k, attempt)
}

func (c *clients) write(conn *net.UDPConn, k capture, attempt bool) error {
	for _, p := range k.packets {
		if attempt {
			c.judge.Sending(time.Now(), k.from)
		}
		if _, err := conn.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(serverAddress, p.Port)); err != nil {
			return fmt.Errorf("send a packet: %w", err)
		}
	}
	return nil
}

// observe connects to the services as the client of an attempt does, and again after its
// lease has ended.
func (c *clients) observe(ctx context.Context, from netip.Addr, protocol string, whole bool) {
	wait(ctx, pause/2)
	begin, opened := time.Now(), false
	for _, s := range services {
		open := look(ctx, from, s.port)
		c.judge.Looked(begin, from, s.name, open)
		opened = opened || open
	}
	if opened && whole {
		c.mu.Lock()
		c.in[protocol]++
		c.mu.Unlock()
	}
	go c.watch(ctx, from, time.Now().Add(openFor+grace), lookFor, pause)
	wait(ctx, time.Duration(mathrand.Int64N(int64(pause))))
}

// watch looks at the services from an address, from a time on, for a time.
func (c *clients) watch(ctx context.Context, from netip.Addr, start time.Time, length, every time.Duration) {
	wait(ctx, time.Until(start))
	for end := start.Add(length); ctx.Err() == nil && time.Now().Before(end); wait(ctx, every) {
		for _, s := range services {
			go func() {
				begin := time.Now()
				c.judge.Looked(begin, from, s.name, look(ctx, from, s.port))
			}()
		}
	}
}

// replay repeats captured packets until ctx ends: from their own address and, if they have
// opened something, from that of a stranger. Packets that the server has never received
// are no replay: it may have been down.
func (c *clients) replay(ctx context.Context) error {
	for ctx.Err() == nil {
		c.mu.Lock()
		var k capture
		if n := len(c.captured); n > 0 {
			k = c.captured[mathrand.IntN(n)]
		}
		c.mu.Unlock()
		used, incomplete := c.judge.State(k.from)
		var sources []netip.Addr
		if used {
			sources = []netip.Addr{k.from, stranger}
		} else if incomplete {
			sources = []netip.Addr{k.from}
		}
		for _, from := range sources {
			if err := c.send(capture{from, k.packets}, false); err != nil {
				return err
			}
			c.judge.Count(func(n *Counts) { n.Replays++ })
		}
		wait(ctx, 50*time.Millisecond)
	}
	return nil
}

// wait waits for a time, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
