package capture

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
)

// refreshInterval is the time between two readings of the host's addresses, and of
// the kernel's count of drops.
const refreshInterval = time.Second

// packetSource receives with packet sockets, and answers with raw sockets.
type packetSource struct {
	cfg     Config
	rule    rule
	counts  *counts
	sockets *Sockets
	local   localAddrs
	sink    sync.Mutex // held while Sink.Take runs: the goroutines share it
	once    sync.Once
}

// newPacketSource returns a source that owns the sockets.
func newPacketSource(cfg Config, counts *counts, sockets *Sockets) (*packetSource, error) {
	c := &packetSource{
		cfg: cfg, rule: cfg.Settings.rule(), counts: counts, sockets: sockets, local: localAddrs{configured: cfg.Addresses},
	}
	if err := c.local.refresh(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *packetSource) packetSockets() []*os.File {
	return []*os.File{c.sockets.packet4, c.sockets.packet6}
}

func (c *packetSource) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, conn := range c.packetSockets() {
		g.Go(func() error { return c.receive(ctx, conn) })
	}
	g.Go(func() error {
		tick := time.NewTicker(refreshInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				for _, conn := range c.packetSockets() {
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
	for _, conn := range c.packetSockets() {
		rc, err := conn.SyscallConn()
		if err != nil {
			continue
		}
		rc.Control(func(fd uintptr) {
			if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
				c.counts.dropped.Add(uint64(s.Drops))
			}
		})
	}
}

// receive reads from a socket until ctx ends.
func (c *packetSource) receive(ctx context.Context, conn *os.File) error {
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
		p.Arrived = b.arrived(i)
		packets = append(packets, p)
	}
	c.counts.received.Add(uint64(n))
	if len(packets) > 0 {
		c.sink.Lock()
		defer c.sink.Unlock()
		c.cfg.Sink.Take(packets)
	}
}

func (c *packetSource) answer(p Packet, payload []byte) error { return c.sockets.raw.send(p, payload) }

func (c *packetSource) close() { c.once.Do(c.sockets.Close) }
