package challenge

import (
	"fmt"
	"time"
)

// Verdict is the result of all packets that a Decoder has received.
type Verdict uint8

// The verdicts.
const (
	Incomplete Verdict = iota
	Complete
	Impossible // no message has these packets, in any order that the scheme survives
)

// String returns the verdict's name.
func (v Verdict) String() string {
	if names := [...]string{"incomplete", "complete", "impossible"}; int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Decoder assembles a message. Its memory is fixed. It belongs to one goroutine.
type Decoder struct {
	codec   *Codec
	verdict Verdict
	count   int // packets, without duplicates
	missing int // the index of the first missing packet; of Differences, of the first in the block
	// packets holds the data of each packet, by its index in the message, or
	// absent. Of the current block of Differences it holds the offsets of the
	// ports, in ascending order.
	packets  []uint32
	lastPort uint16    // of Delays: the port of the last packet
	lastTime time.Time // of Delays: the arrival time of the last packet
}

// absent is the data of a packet that has not arrived.
const absent = 1 << 31

// NewDecoders makes n decoders, each with memory for any of the codecs. Decoding
// allocates no other memory. NewDecoders writes to all of it, so that the kernel
// maps its pages now, and not when packets arrive.
func NewDecoders(n int, codecs ...*Codec) []Decoder {
	size := 0
	for _, c := range codecs {
		size = max(size, c.packets)
	}
	slab := make([]uint32, n*size)
	for i := range slab {
		slab[i] = absent
	}
	decoders := make([]Decoder, n)
	for i := range decoders {
		decoders[i].packets = slab[i*size : i*size : (i+1)*size]
	}
	return decoders
}

// Reset begins a message of a codec. It allocates only if the decoder was not
// made for this codec.
func (d *Decoder) Reset(c *Codec) {
	if cap(d.packets) < c.packets {
		d.packets = make([]uint32, c.packets)
	}
	*d = Decoder{codec: c, packets: d.packets[:c.packets]}
	for i := range d.packets {
		d.packets[i] = absent
	}
}

// Add adds a packet that arrived on a port, and returns the verdict on all
// packets so far. A verdict other than Incomplete is final. Only Delays uses the
// time.
func (d *Decoder) Add(port uint16, now time.Time) Verdict {
	if d.verdict != Incomplete {
		return d.verdict
	}
	if port < d.codec.First() || port > d.codec.Last() {
		return d.finish(Impossible)
	}
	if d.codec.encoding.Scheme == Differences {
		return d.insert(uint32(port - d.codec.encoding.Base))
	}
	index, data := d.locate(port, now)
	if index < 0 {
		return d.finish(Impossible)
	}
	if !d.fits(index, data) {
		return d.finish(Impossible)
	}
	if d.packets[index] == data {
		return d.verdict
	}
	d.packets[index] = data
	d.lastPort, d.lastTime = port, now
	d.count++
	for d.missing < d.codec.packets && d.packets[d.missing] != absent {
		d.missing++
	}
	if d.count == d.codec.packets {
		return d.finish(Complete)
	}
	return d.verdict
}

// Count returns the number of packets added, without duplicates.
func (d *Decoder) Count() int { return d.count }

// CopyFrom copies the state of another decoder. The two share no memory.
func (d *Decoder) CopyFrom(from *Decoder) {
	d.Reset(from.codec)
	packets := d.packets
	copy(packets, from.packets)
	*d = *from
	d.packets = packets
}

func (d *Decoder) finish(v Verdict) Verdict {
	d.verdict = v
	return v
}

// fits reports whether the packet at an index can have the data. Not for
// Differences.
func (d *Decoder) fits(index int, data uint32) bool {
	if known := d.packets[index]; known != absent {
		return known == data
	}
	return index < d.codec.packets-1 || int(data)&d.codec.padding() == 0
}

// locate returns the index of a packet in the message, and its data. The index
// is -1 if the message has no such packet. Not for Differences.
func (d *Decoder) locate(port uint16, now time.Time) (index int, data uint32) {
	offset := uint32(port - d.codec.encoding.Base)
	switch bits := d.codec.encoding; bits.Scheme {
	case Sequence:
		return d.nearest(int(offset & (1<<bits.SequenceBits - 1))), offset >> bits.SequenceBits
	case Ranges:
		return d.nearest(int(offset >> bits.DataBits)), offset & (1<<bits.DataBits - 1)
	}
	// The next packet of the message can have the same port, but it arrives about
	// a delay later; a duplicate arrives sooner.
	if d.count > 0 && port == d.lastPort && now.Sub(d.lastTime) < d.codec.encoding.Delay/2 {
		return d.count - 1, offset
	}
	return d.count, offset
}

// nearest returns the index of the packet with a number, and -1 if there is none.
// With restarts several packets have the same number. nearest returns the only one
// of them in a window of one block around the first missing packet. In the half of
// the window before that packet, only duplicates can arrive.
func (d *Decoder) nearest(number int) int {
	if number >= d.codec.block {
		return -1
	}
	first := min(max(d.missing-d.codec.block/2, 0), d.codec.packets-d.codec.block)
	index := first - first%d.codec.block + number
	if index < first {
		index += d.codec.block
	}
	return index
}

// Belongs reports whether a packet can be one of a message's, given the packets
// added so far. A packet that Belongs may be a duplicate.
func (d *Decoder) Belongs(message []byte, port uint16, now time.Time) bool {
	c := d.codec
	if port < c.First() || port > c.Last() {
		return false
	}
	if c.encoding.Scheme != Differences {
		index, data := d.locate(port, now)
		return index >= 0 && index < c.packets && int(data) == c.data(message, index)
	}
	offset, next := int(port-c.encoding.Base), 0
	for i := d.missing; i < min(d.missing+c.block, c.packets); i++ {
		if next += c.data(message, i); next >= offset {
			return next == offset
		}
		next++
	}
	return false
}

// AppendMessage appends the message. The verdict must be Complete.
func (d *Decoder) AppendMessage(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, d.codec.bytes)...)
	message, bits := dst[start:], d.codec.encoding.DataBits
	for i, data := range d.packets {
		for bit := range bits {
			at := i*bits + bit
			if at < 8*len(message) && data>>(bits-1-bit)&1 != 0 {
				message[at/8] |= 1 << (7 - at%8)
			}
		}
	}
	return dst
}
