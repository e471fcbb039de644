package challenge

import (
	"fmt"
	"slices"
	"time"
)

// Prefix is how messages begin: it tells their packets from others. It is
// immutable, and safe for concurrent use.
type Prefix struct {
	c *Codec
	// data of the packets that the beginning determines; of Differences, in the
	// first block that it does not determine whole, the offsets of the ports.
	data []uint32
	// The packet after those: the bits that the beginning determines, and how
	// many more there are. 0 bits more: none.
	partial uint32
	more    int
}

// Prefix returns what messages of the codec have in common that begin so.
func (c *Codec) Prefix(beginning []byte) (*Prefix, error) {
	if len(beginning) > c.bytes {
		return nil, fmt.Errorf("a beginning of %d bytes, of messages of %d", len(beginning), c.bytes)
	}
	p := &Prefix{c: c}
	whole := 8 * len(beginning) / c.e.DataBits
	if len(beginning) == c.bytes {
		whole = c.packets
	}
	for i := range whole {
		p.data = append(p.data, uint32(c.data(beginning, i)))
	}
	if rest := 8*len(beginning) - whole*c.e.DataBits; rest > 0 {
		p.more = c.e.DataBits - rest
		p.partial = uint32(c.data(beginning, whole)) >> p.more
	}
	if c.e.Scheme == Differences {
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

// Admits reports whether a packet can belong to a message that begins so,
// behind those that d has taken, and how many of its bits the beginning
// determines. It does not ask whether what d has taken can. What d would find
// impossible is not admitted, but for the padding of Differences.
func (p *Prefix) Admits(d *Decoder, port uint16, now time.Time) (bits int, ok bool) {
	if d.verdict != Incomplete || port < p.c.First() || port > p.c.Last() {
		return 0, false
	}
	if p.c.e.Scheme == Differences {
		return p.admitsOffset(d, uint32(port-p.c.e.Base))
	}
	place, data := d.locate(port, now)
	switch {
	case place < 0 || !d.fits(place, data):
		return 0, false
	case place < len(p.data):
		return p.c.e.DataBits, data == p.data[place]
	case place == len(p.data) && p.more > 0:
		return p.c.e.DataBits - p.more, data>>p.more == p.partial
	}
	return 0, true
}

// admitsOffset is Admits for Differences. Its packets tell no place, but where
// the beginning is in a block, and which gaps are too wide for those to come.
func (p *Prefix) admitsOffset(d *Decoder, offset uint32) (bits int, ok bool) {
	first := min(d.missing, len(p.data))
	end := min(d.missing+p.c.block, len(p.data))
	determined := p.data[first:end]
	next := uint32(0)
	if len(determined) > 0 {
		next = determined[len(determined)-1] + 1
	}
	if offset < next {
		_, found := slices.BinarySearch(determined, offset)
		return p.c.e.DataBits, found
	}
	here := d.places[d.missing:d.count]
	n, _ := slices.BinarySearch(here, next)
	behind := here[n:]
	at, known := slices.BinarySearch(behind, offset)
	if known {
		return 0, true
	}
	// The first behind the determined ones may be determined partly.
	low, high := uint32(0), uint32(1)<<p.c.e.DataBits-1
	if p.more > 0 && d.missing+len(determined) == len(p.data) {
		low = p.partial << p.more
		high = low + 1<<p.more - 1
	}
	need := 1 // packets that are to come, this one among them
	for i := range len(behind) + 1 {
		o := offset
		switch {
		case i < at:
			o = behind[i]
		case i > at:
			o = behind[i-1]
		}
		gap := o - next
		next = o + 1
		switch {
		case i > 0:
			need += int(gap >> p.c.e.DataBits)
		case gap < low:
			return 0, false
		case gap > high:
			need += int((gap - high + 1<<p.c.e.DataBits - 1) >> p.c.e.DataBits)
		}
	}
	return 0, need <= min(p.c.block, p.c.packets-d.missing)-len(determined)-len(behind)
}
