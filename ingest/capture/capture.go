package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
)

// Packet is an empty UDP packet, or a bare SYN: source and destination are its only
// content. It was parsed, but not authenticated.
type Packet struct {
	Source, Destination netip.AddrPort
	// Arrived is the time of day at which the kernel received the packet, in nanoseconds
	// since 1970; 0: unknown. A process that reads late reads several packets at once.
	Arrived int64
	// Number is that of the capturer, from 1, by which a packet of an earlier batch can be
	// answered; 0: there is no capturer, or the packet is looked up in the current batch.
	Number uint64
}

// Sink receives packets. The slice is valid until Take returns. One goroutine at
// a time calls Take.
type Sink interface{ Take([]Packet) }

// MaxBound is the maximum number of ports that are bound (Config.Sockets).
const MaxBound = 4096

// Config configures a Capture. The ports of Settings, Sink and Log are required.
type Config struct {
	// Settings determine the packets that are received. For an unspecified address
	// see udp.Addresses.
	Settings
	Sockets bool // bind the ports instead of capturing packets
	// Capturer is the connection to a process that runs Serve, which captures for this
	// one. nil: this process captures, which requires CAP_NET_RAW. Open takes it over.
	Capturer *os.File
	// Sandbox gets, during Open, what is in force in the capturer's process; nil: nothing does.
	Sandbox func(json.RawMessage)
	// Mark is that of OpenSockets, without a Capturer.
	Mark uint32
	Sink Sink
	Log  *slog.Logger
}

// Stats are counts since the start.
type Stats struct {
	Received uint64 // packets that passed the kernel's filter
	// Dropped counts packets that the kernel dropped at a full queue; with
	// Config.Sockets also those that are not empty.
	Dropped  uint64
	Refused  uint64 // received packets that the process refused: impossible addresses
	Answers  uint64 // answers sent, or handed to the capturer
	Failures uint64 // answers that could not be sent: Answer returned an error
	Unsent   uint64 // answers that were handed to the capturer, which could not send them
}

type counts struct{ received, dropped, refused, answers, failures, unsent atomic.Uint64 }

func (n *counts) stats() Stats {
	return Stats{
		n.received.Load(), n.dropped.Load(), n.refused.Load(), n.answers.Load(), n.failures.Load(), n.unsent.Load(),
	}
}

// source receives packets and sends answers.
type source interface {
	run(ctx context.Context) error
	answer(p Packet, payload []byte) error
	close()
}

// Capture receives empty packets, and sends answers to them.
type Capture struct {
	source source
	counts *counts
}

// Open opens the sockets. No packet is delivered before Run. A caller that does
// not call Run must call Close.
func Open(cfg Config) (*Capture, error) {
	if cfg.Sink == nil || cfg.Log == nil || cfg.First == 0 || cfg.Last < cfg.First {
		return nil, errors.New("capture: ports, a sink and a log are required")
	}
	if cfg.TCP && cfg.Sockets {
		return nil, errors.New("capture: a bound socket receives no SYN")
	}
	c := &Capture{counts: new(counts)}
	var err error
	switch {
	case cfg.Sockets:
		c.source, err = newSocketSource(cfg, c.counts)
	case cfg.Capturer != nil:
		c.source, err = newCapturerSource(cfg, c.counts)
	default:
		c.source, err = openPacketSource(cfg, c.counts)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// openPacketSource returns a source whose sockets this process opens itself.
func openPacketSource(cfg Config, counts *counts) (source, error) {
	sockets, err := OpenSockets(cfg.Settings, cfg.Mark)
	if err != nil {
		return nil, err
	}
	return newPacketSource(cfg, counts, sockets)
}

// Run receives until ctx ends, and closes everything.
func (c *Capture) Run(ctx context.Context) error {
	defer c.Close()
	return c.source.run(ctx)
}

// Close closes all sockets. It may be called more than once.
func (c *Capture) Close() { c.source.close() }

// Answer sends a datagram to the source of a packet, from its destination. It
// may be called concurrently. A capturer answers a packet once, if it is of the current
// batch, or has its Number and is one of the latest 16384.
func (c *Capture) Answer(p Packet, payload []byte) error {
	if err := c.source.answer(p, payload); err != nil {
		c.counts.failures.Add(1)
		return fmt.Errorf("answer %s: %w", p.Source, err)
	}
	c.counts.answers.Add(1)
	return nil
}

// Stats returns the counts.
func (c *Capture) Stats() Stats { return c.counts.stats() }

// validPeer reports whether an address is possible in a packet that arrived over
// a link: the loopback, or another one.
func validPeer(a netip.Addr, loopback bool) bool {
	return a.IsValid() && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast && (loopback || !a.IsLoopback())
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
