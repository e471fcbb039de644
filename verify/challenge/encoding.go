package challenge

import (
	"fmt"
	"slices"
	"time"
)

// Scheme is the way in which packets carry data and their order (section 6.3.1).
type Scheme uint8

// The schemes.
const (
	// Sequence: a port is a data field and a sequence number (Table 1).
	Sequence Scheme = 1 + iota
	// Differences: the data is the difference between a packet's port and the
	// port before (Table 2, the first technique).
	Differences
	// Ranges: each packet has a separate range of ports, above the range of the
	// packet before (Table 2, the second technique).
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
		return nil, fmt.Errorf("%s is unknown", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scheme) UnmarshalText(text []byte) error {
	i := slices.Index(schemes, string(text))
	if i < int(Sequence) {
		return fmt.Errorf("expected a scheme, one of %q, got %q", schemes[Sequence:], text)
	}
	*s = Scheme(i)
	return nil
}

// Encoding turns a message into ports. Requests and responses may have different
// encodings.
type Encoding struct {
	Scheme       Scheme
	Base         uint16 // the first port
	DataBits     int    // bits of the message in a packet, 1 to 16
	SequenceBits int    // of Sequence: 0 to 15
	// Restart is the number of packets after which the sequence numbers, or the
	// ports of Differences and Ranges, begin again (section 7.2, footnote 5).
	// 0: they do not.
	Restart int
	Delay   time.Duration // of Delays: the pause after each packet but the last
}

const (
	// MaxMessage is the maximum size of a message in bytes: an ID of 16, and a
	// nonce of 20.
	MaxMessage = 36
	// MaxSigned is the maximum size of a message of an operation with public keys: a
	// signature by a security key.
	MaxSigned = 69
	// MaxPackets is the maximum number of packets: one for each bit.
	MaxPackets = 8 * MaxSigned
	// MinRestart is the minimum of Restart. With a smaller one no packet could
	// overtake another.
	MinRestart = 3
	maxDelay   = time.Minute
)

// Codec encodes messages of one size by one Encoding. It is immutable, and safe
// for concurrent use.
type Codec struct {
	encoding Encoding
	bytes    int
	packets  int
	block    int // packets between two restarts; all of them without
	span     int
	used     int // ports from the base to the highest one that a packet may have
}

// Codec returns the codec of messages of a size in bytes. The error names the
// first rule that the encoding breaks.
func (e Encoding) Codec(bytes int) (*Codec, error) { return e.codec(bytes, MaxMessage) }

// SignedCodec is Codec for the messages of operations with public keys, which have up
// to MaxSigned bytes.
func (e Encoding) SignedCodec(bytes int) (*Codec, error) { return e.codec(bytes, MaxSigned) }

func (e Encoding) codec(bytes, most int) (*Codec, error) {
	c := &Codec{encoding: e, bytes: bytes}
	if err := c.check(most); err != nil {
		return nil, fmt.Errorf("encoding %q: %w", e.Scheme, err)
	}
	return c, nil
}

func (c *Codec) check(most int) error {
	e := c.encoding
	switch {
	case e.Scheme < Sequence || e.Scheme > Delays:
		return fmt.Errorf("expected one of the schemes %q", schemes[Sequence:])
	case c.bytes < 1 || c.bytes > most:
		return fmt.Errorf("expected a message of 1 to %d bytes, got %d", most, c.bytes)
	case e.DataBits < 1 || e.DataBits > 16:
		return fmt.Errorf("expected 1 to 16 data bits, got %d", e.DataBits)
	case e.Scheme != Sequence && e.SequenceBits != 0:
		return fmt.Errorf("expected no sequence bits, which only %q has, got %d", Sequence, e.SequenceBits)
	case e.SequenceBits < 0 || e.DataBits+e.SequenceBits > 16:
		return fmt.Errorf("expected at most 16 bits, the size of a port, got %d data bits and %d sequence bits",
			e.DataBits, e.SequenceBits)
	case e.Scheme == Delays && (e.Delay < time.Millisecond || e.Delay > maxDelay):
		return fmt.Errorf("expected a delay of 1ms to %s, which keeps the packets in order, got %s", maxDelay, e.Delay)
	case e.Scheme != Delays && e.Delay != 0:
		return fmt.Errorf("expected no delay, which only %q has, got %s", Delays, e.Delay)
	case e.Scheme == Delays && e.Restart != 0:
		return fmt.Errorf("expected no restart, which %q cannot have, got one every %d packets", Delays, e.Restart)
	case e.Restart != 0 && e.Restart < MinRestart:
		return fmt.Errorf("expected a restart every %d packets or more, so that a packet can overtake another, got every %d",
			MinRestart, e.Restart)
	}
	c.packets = (8*c.bytes + e.DataBits - 1) / e.DataBits
	c.block = c.packets
	if e.Restart != 0 {
		c.block = min(c.block, e.Restart)
	}
	if numbers := 1 << e.SequenceBits; e.Scheme == Sequence && c.block > numbers {
		if e.Restart > numbers {
			return fmt.Errorf("expected a restart every %d packets or fewer, the numbers of %d sequence bits, got every %d",
				numbers, e.SequenceBits, e.Restart)
		}
		return fmt.Errorf("expected at most %d packets, the numbers of %d sequence bits, or a restart, "+
			"got %d packets for %d bytes at %d data bits", numbers, e.SequenceBits, c.packets, c.bytes, e.DataBits)
	}
	switch e.Scheme {
	case Sequence:
		c.span = 1 << (e.DataBits + e.SequenceBits)
		// No packet has a number from block on.
		c.used = c.span - 1<<e.SequenceBits + c.block
	case Delays:
		c.span = 1 << e.DataBits
		c.used = c.span
	default:
		c.span = c.block << e.DataBits
		c.used = c.span
	}
	if int(e.Base)+c.used-1 > 65535 {
		return &TooHighError{e.Base, c.used}
	}
	return nil
}

// TooHighError is the error for an encoding that requires ports above 65535.
type TooHighError struct {
	Base  uint16
	Ports int // from Base on
}

func (e *TooHighError) Error() string {
	return fmt.Sprintf("expected ports up to 65535, got %d ports from %d, up to %d", e.Ports, e.Base, int(e.Base)+e.Ports-1)
}

// Packets returns the number of packets of a message.
func (c *Codec) Packets() int { return c.packets }

// First returns the lowest port that a packet may have.
func (c *Codec) First() uint16 { return c.encoding.Base }

// Last returns the highest port that a packet may have.
func (c *Codec) Last() uint16 { return c.encoding.Base + uint16(c.used-1) }

// Moved returns the same codec with a base that is higher by distance. The caller
// must know that its ports do not exceed 65535.
func (c *Codec) Moved(distance uint16) *Codec {
	moved := *c
	moved.encoding.Base += distance
	return &moved
}

// Ports returns the ports from First to Last.
func (c *Codec) Ports() Ports { return Ports{c.First(), c.Last()} }

// Span returns the paper's size of the port range. Of Sequence it can be larger
// than the range from First to Last: the highest numbers may belong to no packet.
func (c *Codec) Span() int { return c.span }

// Delay returns the pause after each packet but the last. 0: no pause.
func (c *Codec) Delay() time.Duration { return c.encoding.Delay }

// DataBits returns the number of bits of the message in a packet.
func (c *Codec) DataBits() int { return c.encoding.DataBits }

// Bytes returns the size of a message.
func (c *Codec) Bytes() int { return c.bytes }
