package challenge

import (
	"fmt"
	"slices"
	"time"
)

// Prefix is the beginning of a message: it decides which packets can belong to a
// message that begins so. It is immutable, and safe for concurrent use.
type Prefix struct {
	codec *Codec
	// data holds the data of the packets that the beginning determines; of
	// Differences, the offsets of their ports.
	data []uint32
	// partial holds the bits of the next packet that the beginning determines,
	// and more is the number of bits that follow them. more is 0 if the beginning
	// determines no packet in part.
	partial uint32
	more    int
}

// Prefix returns the Prefix of messages of the codec that begin so.
func (c *Codec) Prefix(beginning []byte) (*Prefix, error) {
	if len(beginning) > c.bytes {
		return nil, fmt.Errorf("expected a prefix of at most %d bytes, got %d bytes", c.bytes, len(beginning))
	}
	p := &Prefix{codec: c}
	whole := 8 * len(beginning) / c.encoding.DataBits
	if len(beginning) == c.bytes {
		whole = c.packets
	}
	for i := range whole {
		p.data = append(p.data, uint32(c.data(beginning, i)))
	}
	if rest := 8*len(beginning) - whole*c.encoding.DataBits; rest > 0 {
		p.more = c.encoding.DataBits - rest
		p.partial = uint32(c.data(beginning, whole)) >> p.more
	}
	if c.encoding.Scheme == Differences {
		next := uint32(0)
		for i, data := range p.data {
			if i%c.block == 0 {
				next = 0
			}
			p.data[i] = next + data
			next = p.data[i] + 1
		}
	}
	return p, nil
}

// Admits reports whether a packet can belong to a message that begins so, after
// the packets that d has received, and how many of its bits the beginning
// determines. It does not check the packets that d has received. It does not
// admit a packet that makes the verdict of d Impossible, with one exception: it
// does not check the padding of Differences.
func (p *Prefix) Admits(d *Decoder, port uint16, now time.Time) (bits int, ok bool) {
	if d.verdict != Incomplete || port < p.codec.First() || port > p.codec.Last() {
		return 0, false
	}
	if p.codec.encoding.Scheme == Differences {
		return p.admitsOffset(d, uint32(port-p.codec.encoding.Base))
	}
	index, data := d.locate(port, now)
	switch {
	case index < 0 || !d.fits(index, data):
		return 0, false
	case index < len(p.data):
		return p.codec.encoding.DataBits, data == p.data[index]
	case index == len(p.data) && p.more > 0:
		return p.codec.encoding.DataBits - p.more, data>>p.more == p.partial
	}
	return 0, true
}

// admitsOffset is Admits for Differences. A port does not determine the index of
// its packet. So admitsOffset compares with the ports that the beginning
// determines in the block, and checks that the missing packets can fill the gaps.
func (p *Prefix) admitsOffset(d *Decoder, offset uint32) (bits int, ok bool) {
	first := min(d.missing, len(p.data))
	end := min(d.missing+p.codec.block, len(p.data))
	determined := p.data[first:end]
	next := uint32(0)
	if len(determined) > 0 {
		next = determined[len(determined)-1] + 1
	}
	if offset < next {
		_, found := slices.BinarySearch(determined, offset)
		return p.codec.encoding.DataBits, found
	}
	here := d.packets[d.missing:d.count]
	n, _ := slices.BinarySearch(here, next)
	after := here[n:]
	at, known := slices.BinarySearch(after, offset)
	if known {
		return 0, true
	}
	// The beginning may determine a part of the first packet after those.
	low, high := uint32(0), uint32(1)<<p.codec.encoding.DataBits-1
	if p.more > 0 && d.missing+len(determined) == len(p.data) {
		low = p.partial << p.more
		high = low + 1<<p.more - 1
	}
	need := 1 // missing packets that the gaps require, this one included
	for i := range len(after) + 1 {
		o := offset
		switch {
		case i < at:
			o = after[i]
		case i > at:
			o = after[i-1]
		}
		gap := o - next
		next = o + 1
		switch {
		case i > 0:
			need += int(gap >> p.codec.encoding.DataBits)
		case gap < low:
			return 0, false
		case gap > high:
			need += int((gap - high + 1<<p.codec.encoding.DataBits - 1) >> p.codec.encoding.DataBits)
		}
	}
	return 0, need <= min(p.codec.block, p.codec.packets-d.missing)-len(determined)-len(after)
}
