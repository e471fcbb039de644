package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
)

// Packet is an empty UDP packet: its source and its destination are all that it
// says. It is parsed, and authenticated by nothing.
type Packet struct{ Source, Destination netip.AddrPort }

// Sink takes packets. The slice is valid until Take returns; one goroutine
// calls it at a time.
type Sink interface{ Take([]Packet) }

// MaxBound is how many ports can be bound at the most.
const MaxBound = 4096

// Config is what Open needs. Ports, Sink and Log are required.
type Config struct {
	First, Last uint16 // the ports, both included
	Sockets     bool   // bind them, instead of capturing
	// Addresses of this host that are knocked at; none, or an unspecified one:
	// all it has.
	Addresses []netip.Addr
	// Mark is that of answers (SO_MARK), by which a firewall knows them; 0:
	// none. Kernels before 5.17 let only CAP_NET_ADMIN set one: then there is
	// none, either.
	Mark uint32
	Sink Sink
	Log  *slog.Logger
}

// Stats are counts since the start.
type Stats struct {
	Received uint64 // packets that the kernel let through
	Dropped  uint64 // by the kernel, at a full queue; bound, also what is not empty
	Refused  uint64 // of those received: from or to addresses that cannot be
	Answers  uint64
	Failures uint64 // answers that could not be sent
}

type counts struct{ received, dropped, refused, answers, failures atomic.Uint64 }

// medium is how packets are heard, and answers sent.
type medium interface {
	run(ctx context.Context) error
	answer(p Packet, payload []byte) error
	close()
}

// Capture hears packets.
type Capture struct {
	medium medium
	counts *counts
}

// Open takes what hearing needs. Nothing is handed on before Run; whoever does
// not call Run, calls Close.
func Open(cfg Config) (*Capture, error) {
	if cfg.Sink == nil || cfg.Log == nil || cfg.First == 0 || cfg.Last < cfg.First {
		return nil, errors.New("capture: ports, a sink and a log are required")
	}
	c := &Capture{counts: new(counts)}
	var err error
	if cfg.Sockets {
		c.medium, err = bind(cfg, c.counts)
	} else {
		c.medium, err = listen(cfg, c.counts)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Run hears until ctx ends, and closes everything.
func (c *Capture) Run(ctx context.Context) error {
	defer c.Close()
	return c.medium.run(ctx)
}

// Close gives everything up. It may be called more than once.
func (c *Capture) Close() { c.medium.close() }

// Answer sends a datagram to the source of a packet, from its destination. It
// may be called concurrently.
func (c *Capture) Answer(p Packet, payload []byte) error {
	if err := c.medium.answer(p, payload); err != nil {
		c.counts.failures.Add(1)
		return fmt.Errorf("answer %s: %w", p.Source, err)
	}
	c.counts.answers.Add(1)
	return nil
}

// Stats returns the counts.
func (c *Capture) Stats() Stats {
	return Stats{c.counts.received.Load(), c.counts.dropped.Load(), c.counts.refused.Load(), c.counts.answers.Load(), c.counts.failures.Load()}
}

// possible reports whether an address can be the other end of a packet that
// came over a link, the loopback or another.
func possible(a netip.Addr, loopback bool) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast && (loopback || !a.IsLoopback())
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
