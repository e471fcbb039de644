package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

const (
	// queueSize is what a socket's queue holds, in bytes: some thousand packets.
	// The kernel's net.core.rmem_max bounds it.
	queueSize = 4 << 20
	// lookPause is the time between two looks at the host's addresses, and at
	// what the kernel has dropped.
	lookPause = time.Second
)

// captured hears by packet sockets.
type captured struct {
	cfg    Config
	rule   rule
	counts *counts
	conns  []*packet.Conn
	raw    *raw
	own    own
	sink   sync.Mutex // both sockets have one sink
	once   sync.Once
}

func listen(cfg Config, counts *counts) (_ medium, err error) {
	c := &captured{cfg: cfg, rule: rule{cfg.First, cfg.Last}, counts: counts, own: own{given: cfg.Addresses}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.own.look(); err != nil {
		return nil, err
	}
	for _, family := range []struct {
		protocol int
		v6       bool
	}{{unix.ETH_P_IP, false}, {unix.ETH_P_IPV6, true}} {
		// Index 0 stands for all interfaces. What is sent is not heard by
		// sockets of one protocol.
		conn, err := packet.Listen(&net.Interface{}, packet.Datagram, family.protocol, &packet.Config{Filter: prefilter.Assemble(c.rule.program(family.v6, true))})
		if err != nil {
			return nil, explain(fmt.Errorf("capture packets: %w", err))
		}
		c.conns = append(c.conns, conn)
		rc, err := conn.SyscallConn()
		if err == nil {
			err = rc.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, queueSize) })
		}
		if err != nil {
			return nil, fmt.Errorf("capture packets: %w", err)
		}
	}
	if c.raw, err = newRaw(cfg.Mark); err != nil {
		return nil, explain(fmt.Errorf("make a raw socket to answer from: %w", err))
	}
	return c, nil
}

// deniedError says which capability is missing.
type deniedError struct{ error }

func (e deniedError) Unwrap() error { return e.error }

// Hint says what to do about it.
func (deniedError) Hint() string {
	return "start the server with CAP_NET_RAW, as root or as container/sallyportd.service shows; or, with a small range of ports, capture = \"sockets\""
}

func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return deniedError{fmt.Errorf("%w: it takes CAP_NET_RAW", err)}
	}
	return err
}

func (c *captured) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, conn := range c.conns {
		g.Go(func() error { return c.hear(ctx, conn) })
	}
	g.Go(func() error {
		tick := time.NewTicker(lookPause)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				for _, conn := range c.conns {
					conn.SetReadDeadline(time.Unix(1, 0)) // who waits, waits no more
				}
				c.countDrops()
				return nil
			case <-tick.C:
				c.countDrops()
				if err := c.own.look(); err != nil {
					c.cfg.Log.Warn("failed to read host addresses; keeping the last known", "error", err)
				}
			}
		}
	})
	return g.Wait()
}

// countDrops asks the kernel, which begins anew with each question.
func (c *captured) countDrops() {
	for _, conn := range c.conns {
		if s, err := conn.Stats(); err == nil {
			c.counts.dropped.Add(uint64(s.Drops))
		}
	}
}

// hear reads until ctx ends.
func (c *captured) hear(ctx context.Context, conn *packet.Conn) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("hear packets: %w", err)
	}
	b := newBatch()
	var n int
	var failure error
	// Made once: in the loop, it would be garbage for each batch.
	receive := func(fd uintptr) bool {
		n, failure = b.receive(int(fd))
		return failure != unix.EAGAIN
	}
	for {
		err := rc.Read(receive)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("hear packets: %w", err)
		case failure == unix.EINTR, failure == unix.ENETDOWN: // an interface went; the others are there
			continue
		case failure != nil:
			return fmt.Errorf("hear packets: %w", failure)
		}
		c.take(b, n)
	}
}

// take hands on the packets of a batch that keep the rule.
func (c *captured) take(b *batch, n int) {
	packets := b.packets[:0]
	for i := range n {
		p, ok := c.rule.parse(b.packet(i))
		link, loopback := b.names[i].Link()
		from, to := p.Source.Addr(), p.Destination.Addr()
		if !ok || !possible(from, loopback) || !possible(to, loopback) || !c.own.has(to) || !loopback && c.own.is(from) {
			c.counts.refused.Add(1)
			continue
		}
		p.Source = netip.AddrPortFrom(udp.WithLink(from, link), p.Source.Port())
		p.Destination = netip.AddrPortFrom(udp.WithLink(to, link), p.Destination.Port())
		packets = append(packets, p)
	}
	c.counts.received.Add(uint64(n))
	if len(packets) > 0 {
		c.sink.Lock()
		defer c.sink.Unlock()
		c.cfg.Sink.Take(packets)
	}
}

func (c *captured) answer(p Packet, payload []byte) error { return c.raw.send(p, payload) }

func (c *captured) close() {
	c.once.Do(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
		if c.raw != nil {
			c.raw.close()
		}
	})
}
