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
// behind those that d has taken. It does not ask whether these can.
func (p *Prefix) Admits(d *Decoder, port uint16, now time.Time) bool {
	if port < p.c.First() || port > p.c.Last() {
		return false
	}
	if p.c.e.Scheme == Differences {
		return p.admitsOffset(d, uint32(port-p.c.e.Base))
	}
	place, data := d.locate(port, now)
	switch {
	case place < 0:
		return false
	case place < len(p.data):
		return data == p.data[place]
	case place == len(p.data) && p.more > 0:
		return data>>p.more == p.partial
	}
	return true
}

// admitsOffset is Admits for Differences. Its packets tell no place, but where
// the beginning is in a block, and what lies below its end.
func (p *Prefix) admitsOffset(d *Decoder, offset uint32) bool {
	first := min(d.missing, len(p.data))
	end := min(d.missing+p.c.block, len(p.data))
	determined := p.data[first:end]
	next := uint32(0)
	if len(determined) > 0 {
		next = determined[len(determined)-1] + 1
	}
	if offset < next {
		_, found := slices.BinarySearch(determined, offset)
		return found
	}
	// What else the block has lies behind those, and is no more than fits.
	size := min(p.c.block, p.c.packets-d.missing) - len(determined)
	here := d.places[d.missing:d.count]
	if _, known := slices.BinarySearch(here, offset); known {
		return true
	}
	n, _ := slices.BinarySearch(here, next)
	behind := here[n:]
	if len(behind) == size {
		return false
	}
	if p.more == 0 || d.missing+len(determined) != len(p.data) {
		return true
	}
	// The first of them is the packet that the beginning determines partly,
	// but which one is the first is known only with the last.
	low := next + p.partial<<p.more
	lowest := offset
	if len(behind) > 0 {
		lowest = min(lowest, behind[0])
	}
	return offset >= low && (len(behind)+1 < size || lowest < low+1<<p.more)
}
