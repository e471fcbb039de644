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
	// queueSize is the size of a socket's queue, in bytes: some thousand packets.
	// The kernel's net.core.rmem_max bounds it.
	queueSize = 4 << 20
	// refreshInterval is the time between two readings of the host's addresses, and
	// of the kernel's count of drops.
	refreshInterval = time.Second
)

// packetSource receives with packet sockets, and answers with raw sockets.
type packetSource struct {
	cfg    Config
	rule   rule
	counts *counts
	conns  []*packet.Conn
	raw    *rawSockets
	local  localAddrs
	sink   sync.Mutex // held while Sink.Take runs: the goroutines share it
	once   sync.Once
}

func newPacketSource(cfg Config, counts *counts) (_ source, err error) {
	c := &packetSource{
		cfg: cfg, rule: rule{cfg.First, cfg.Last}, counts: counts, local: localAddrs{configured: cfg.Addresses},
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.local.refresh(); err != nil {
		return nil, err
	}
	for _, family := range []struct {
		protocol int
		v6       bool
	}{{unix.ETH_P_IP, false}, {unix.ETH_P_IPV6, true}} {
		// Index 0 stands for all interfaces. A socket of one protocol does not
		// receive packets that this host sends.
		filter := prefilter.Assemble(c.rule.program(family.v6, true))
		conn, err := packet.Listen(&net.Interface{}, packet.Datagram, family.protocol, &packet.Config{Filter: filter})
		if err != nil {
			return nil, withHint(fmt.Errorf("capture packets: %w", err))
		}
		c.conns = append(c.conns, conn)
		rc, err := conn.SyscallConn()
		if err == nil {
			err = rc.Control(func(fd uintptr) {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, queueSize)
			})
		}
		if err != nil {
			return nil, fmt.Errorf("capture packets: %w", err)
		}
	}
	if c.raw, err = newRawSockets(cfg.Mark); err != nil {
		return nil, withHint(fmt.Errorf("open a raw socket for answers: %w", err))
	}
	return c, nil
}

// deniedError is the error for a missing capability.
type deniedError struct{ error }

func (e deniedError) Unwrap() error { return e.error }

// Hint returns what the administrator can do.
func (deniedError) Hint() string {
	return "start the server with CAP_NET_RAW, as root or as container/sallyportd.service shows; " +
		"or choose a small range of ports and capture = \"sockets\""
}

func withHint(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return deniedError{fmt.Errorf("%w: CAP_NET_RAW is required", err)}
	}
	return err
}

func (c *packetSource) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, conn := range c.conns {
		g.Go(func() error { return c.receive(ctx, conn) })
	}
	g.Go(func() error {
		tick := time.NewTicker(refreshInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				for _, conn := range c.conns {
					conn.SetReadDeadline(time.Unix(1, 0)) // ends the waiting reads
				}
				c.countDrops()
				return nil
			case <-tick.C:
				c.countDrops()
				if err := c.local.refresh(); err != nil {
					c.cfg.Log.Warn("failed to read host addresses; keeping the last known", "error", err)
				}
			}
		}
	})
	return g.Wait()
}

// countDrops adds the kernel's counts of drops, which each reading resets.
func (c *packetSource) countDrops() {
	for _, conn := range c.conns {
		if s, err := conn.Stats(); err == nil {
			c.counts.dropped.Add(uint64(s.Drops))
		}
	}
}

// receive reads from a socket until ctx ends.
func (c *packetSource) receive(ctx context.Context, conn *packet.Conn) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("read packets: %w", err)
	}
	b := newBatch()
	var n int
	var failure error
	// Made once: in the loop, it would be allocated for each batch.
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
			return fmt.Errorf("read packets: %w", err)
		case failure == unix.EINTR, failure == unix.ENETDOWN: // an interface went down; the others still work
			continue
		case failure != nil:
			return fmt.Errorf("read packets: %w", failure)
		}
		c.deliver(b, n)
	}
}

// deliver delivers the packets of a batch that the rule accepts.
func (c *packetSource) deliver(b *batch, n int) {
	packets := b.packets[:0]
	for i := range n {
		p, ok := c.rule.parse(b.packet(i))
		link, loopback := b.names[i].Link()
		from, to := p.Source.Addr(), p.Destination.Addr()
		if !ok || !validPeer(from, loopback) || !validPeer(to, loopback) ||
			!c.local.accepts(to) || !loopback && c.local.has(from) {
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

func (c *packetSource) answer(p Packet, payload []byte) error { return c.raw.send(p, payload) }

func (c *packetSource) close() {
	c.once.Do(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
		if c.raw != nil {
			c.raw.close()
		}
	})
}
