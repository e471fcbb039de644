package challenge

import (
	"fmt"
	"slices"
	"time"
)

// Scheme is how packets tell their order (section 6.3.1).
type Scheme uint8

// The schemes.
const (
	// Sequence: a port is a data field and a sequence number (Table 1).
	Sequence Scheme = 1 + iota
	// Differences: data is by how much each port exceeds the one before (Table
	// 2, the first technique).
	Differences
	// Ranges: each packet has a range of ports of its own, above the one before
	// (Table 2, the second technique).
	Ranges
	// Delays: a pause between packets keeps them in order (Table 3).
	Delays
)

var schemes = []string{Sequence: "sequence", Differences: "differences", Ranges: "ranges", Delays: "delays"}

// String returns the scheme's name.
func (s Scheme) String() string {
	if s >= Sequence && int(s) < len(schemes) {
		return schemes[s]
	}
	return fmt.Sprintf("scheme %d", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s Scheme) MarshalText() ([]byte, error) {
	if s < Sequence || s > Delays {
		return nil, fmt.Errorf("%s is none", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scheme) UnmarshalText(text []byte) error {
	i := slices.Index(schemes, string(text))
	if i < int(Sequence) {
		return fmt.Errorf("%q is no scheme: there are sequence, differences, ranges and delays", text)
	}
	*s = Scheme(i)
	return nil
}

// Encoding is how a message becomes ports. Requests and responses may have
// different ones.
type Encoding struct {
	Scheme       Scheme
	Base         uint16 // the first port
	DataBits     int    // of the message in a packet, 1 to 16
	SequenceBits int    // of Sequence: 0 to 15
	// Restart has sequence numbers, or the ports of Differences and Ranges,
	// begin again every so many packets (section 7.2, footnote 5). 0: never.
	Restart int
	Delay   time.Duration // of Delays: after each packet but the last
}

const (
	// MaxMessage is the longest message in bytes: an ID of 16, and a nonce of 20.
	MaxMessage = 36
	// MaxPackets is what it takes at a bit a packet.
	MaxPackets = 8 * MaxMessage
	// MinRestart: with fewer, no packet could overtake another.
	MinRestart = 3
	maxDelay   = time.Minute
)

// Codec encodes messages of one size by one Encoding. It is immutable, and safe
// for concurrent use.
type Codec struct {
	e       Encoding
	bytes   int
	packets int
	block   int // packets between two restarts; all of them without
	span    int
}

// Codec returns the codec of messages of so many bytes. An error says what of
// the encoding cannot be, and why.
func (e Encoding) Codec(bytes int) (*Codec, error) {
	c := &Codec{e: e, bytes: bytes}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("encoding %q: %w", e.Scheme, err)
	}
	return c, nil
}

func (c *Codec) check() error {
	e := c.e
	switch {
	case e.Scheme < Sequence || e.Scheme > Delays:
		return fmt.Errorf("there are %q", schemes[Sequence:])
	case c.bytes < 1 || c.bytes > MaxMessage:
		return fmt.Errorf("a message of %d bytes: it has 1 to %d", c.bytes, MaxMessage)
	case e.DataBits < 1 || e.DataBits > 16:
		return fmt.Errorf("%d data bits: a port has room for 1 to 16", e.DataBits)
	case e.Scheme != Sequence && e.SequenceBits != 0:
		return fmt.Errorf("%d sequence bits: only %q has some", e.SequenceBits, Sequence)
	case e.SequenceBits < 0 || e.DataBits+e.SequenceBits > 16:
		return fmt.Errorf("%d data bits and %d sequence bits: a port has 16", e.DataBits, e.SequenceBits)
	case e.Scheme == Delays && (e.Delay < time.Millisecond || e.Delay > maxDelay):
		return fmt.Errorf("a delay of %s: without one of 1ms to %s nothing keeps the packets in order", e.Delay, maxDelay)
	case e.Scheme != Delays && e.Delay != 0:
		return fmt.Errorf("a delay of %s: only %q has one", e.Delay, Delays)
	case e.Scheme == Delays && e.Restart != 0:
		return fmt.Errorf("a restart every %d packets: there is nothing that could begin again", e.Restart)
	case e.Restart != 0 && e.Restart < MinRestart:
		return fmt.Errorf("a restart every %d packets: with fewer than %d none could overtake another", e.Restart, MinRestart)
	}
	c.packets = (8*c.bytes + e.DataBits - 1) / e.DataBits
	c.block = c.packets
	if e.Restart != 0 {
		c.block = min(c.block, e.Restart)
	}
	if numbers := 1 << e.SequenceBits; e.Scheme == Sequence && c.block > numbers {
		if e.Restart > numbers {
			return fmt.Errorf("a restart every %d packets: %d sequence bits number %d", e.Restart, e.SequenceBits, numbers)
		}
		return fmt.Errorf("%d bytes at %d data bits are %d packets: %d sequence bits number %d, so it takes more of them, or a restart", c.bytes, e.DataBits, c.packets, e.SequenceBits, numbers)
	}
	switch e.Scheme {
	case Sequence:
		c.span = 1 << (e.DataBits + e.SequenceBits)
	case Delays:
		c.span = 1 << e.DataBits
	default:
		c.span = c.block << e.DataBits
	}
	if last := int(e.Base) + c.span - 1; last > 65535 {
		return fmt.Errorf("it takes %d ports from %d on, up to %d: the last one is 65535", c.span, e.Base, last)
	}
	return nil
}

// Packets returns how many a message takes.
func (c *Codec) Packets() int { return c.packets }

// First returns the lowest port that a packet may go to.
func (c *Codec) First() uint16 { return c.e.Base }

// Last returns the highest port that a packet may go to.
func (c *Codec) Last() uint16 { return c.e.Base + uint16(c.span-1) }

// Span returns how many ports that are: the paper's size of the port range.
func (c *Codec) Span() int { return c.span }

// Delay returns the pause after each packet but the last; 0: none is needed.
func (c *Codec) Delay() time.Duration { return c.e.Delay }

// DataBits returns how many bits of the message a packet has.
func (c *Codec) DataBits() int { return c.e.DataBits }

// Bytes returns the size of a message.
func (c *Codec) Bytes() int { return c.bytes }
