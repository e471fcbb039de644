package challenge

import (
	"fmt"
	"time"
)

// Verdict is what packets have come to.
type Verdict uint8

// The verdicts.
const (
	Incomplete Verdict = iota
	Complete
	Impossible // no message has these packets, in an order that is promised to survive
)

// String returns the verdict's name.
func (v Verdict) String() string {
	if names := [...]string{"incomplete", "complete", "impossible"}; int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Decoder puts a message together. Its memory is fixed. It belongs to one
// goroutine.
type Decoder struct {
	c       *Codec
	verdict Verdict
	count   int // packets, without duplicates
	missing int // the first place without one; of Differences the first of the block
	// places holds each packet's data, in the message's order, or absent. Of
	// the block that Differences is in it holds the ports' offsets, in
	// ascending order.
	places []uint32
	port   uint16    // of Delays: the last one
	at     time.Time // of Delays: when that came
}

const absent = 1 << 31

// NewDecoders makes n decoders, each with room for any of the codecs. They
// share one piece of memory, which is all that decoding ever takes. It is
// written here, so that the kernel has given all of it before a packet comes.
func NewDecoders(n int, codecs ...*Codec) []Decoder {
	room := 0
	for _, c := range codecs {
		room = max(room, c.packets)
	}
	slab := make([]uint32, n*room)
	for i := range slab {
		slab[i] = absent
	}
	decoders := make([]Decoder, n)
	for i := range decoders {
		decoders[i].places = slab[i*room : i*room : (i+1)*room]
	}
	return decoders
}

// Reset begins a message of one of the codecs that there is room for.
func (d *Decoder) Reset(c *Codec) {
	if cap(d.places) < c.packets {
		d.places = make([]uint32, c.packets)
	}
	*d = Decoder{c: c, places: d.places[:c.packets]}
	for i := range d.places {
		d.places[i] = absent
	}
}

// Take takes a packet that has come to a port, and says what all of them come
// to. Once that is not Incomplete, nothing changes it. Only Delays asks for the
// time.
func (d *Decoder) Take(port uint16, now time.Time) Verdict {
	if d.verdict != Incomplete {
		return d.verdict
	}
	if port < d.c.First() || port > d.c.Last() {
		return d.end(Impossible)
	}
	if d.c.e.Scheme == Differences {
		return d.insert(uint32(port - d.c.e.Base))
	}
	place, data := d.locate(port, now)
	if place < 0 {
		return d.end(Impossible)
	}
	if !d.fits(place, data) {
		return d.end(Impossible)
	}
	if d.places[place] == data {
		return d.verdict
	}
	d.places[place] = data
	d.port, d.at = port, now
	d.count++
	for d.missing < d.c.packets && d.places[d.missing] != absent {
		d.missing++
	}
	if d.count == d.c.packets {
		return d.end(Complete)
	}
	return d.verdict
}

// Count returns how many packets have been taken, without duplicates.
func (d *Decoder) Count() int { return d.count }

// Copy has the decoder go on from where another one is, in its own memory.
func (d *Decoder) Copy(from *Decoder) {
	d.Reset(from.c)
	places := d.places
	copy(places, from.places)
	*d = *from
	d.places = places
}

func (d *Decoder) end(v Verdict) Verdict {
	d.verdict = v
	return v
}

// fits reports whether a place can have the data. Not for Differences.
func (d *Decoder) fits(place int, data uint32) bool {
	if known := d.places[place]; known != absent {
		return known == data
	}
	return place < d.c.packets-1 || int(data)&d.c.padding() == 0
}

// locate returns the place of a packet in the message, and what it says; -1 if
// it has none. Not for Differences.
func (d *Decoder) locate(port uint16, now time.Time) (place int, data uint32) {
	offset := uint32(port - d.c.e.Base)
	switch bits := d.c.e; bits.Scheme {
	case Sequence:
		return d.nearest(int(offset & (1<<bits.SequenceBits - 1))), offset >> bits.SequenceBits
	case Ranges:
		return d.nearest(int(offset >> bits.DataBits)), offset & (1<<bits.DataBits - 1)
	}
	// The same port in a row comes a delay apart, a duplicate at once.
	if d.count > 0 && port == d.port && now.Sub(d.at) < d.c.e.Delay/2 {
		return d.count - 1, offset
	}
	return d.count, offset
}

// nearest returns which of the places of a number is meant: the only one in a
// window of a block around the first that is missing. Half of it lies before,
// where only duplicates come from.
func (d *Decoder) nearest(number int) int {
	if number >= d.c.block {
		return -1
	}
	first := min(max(d.missing-d.c.block/2, 0), d.c.packets-d.c.block)
	place := first - first%d.c.block + number
	if place < first {
		place += d.c.block
	}
	return place
}

// Belongs reports whether a packet is one of a message of the codec's size: a
// new one or a duplicate, as far as packets tell.
func (d *Decoder) Belongs(message []byte, port uint16, now time.Time) bool {
	c := d.c
	if port < c.First() || port > c.Last() {
		return false
	}
	if c.e.Scheme != Differences {
		place, data := d.locate(port, now)
		return place >= 0 && place < c.packets && int(data) == c.data(message, place)
	}
	offset, next := int(port-c.e.Base), 0
	for i := d.missing; i < min(d.missing+c.block, c.packets); i++ {
		if next += c.data(message, i); next >= offset {
			return next == offset
		}
		next++
	}
	return false
}

// AppendMessage appends the message, once it is Complete.
func (d *Decoder) AppendMessage(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, d.c.bytes)...)
	message := dst[start:]
	for i, data := range d.places {
		for bit := range d.c.e.DataBits {
			if at := i*d.c.e.DataBits + bit; at < 8*len(message) && data>>(d.c.e.DataBits-1-bit)&1 != 0 {
				message[at/8] |= 1 << (7 - at%8)
			}
		}
	}
	return dst
}
