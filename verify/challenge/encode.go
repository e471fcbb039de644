package challenge

import "fmt"

// AppendPorts appends the destination ports of a message's packets, in the order
// of sending. It returns an error if the message does not have the codec's size,
// or requires port 0, to which no packet can be sent.
func (c *Codec) AppendPorts(dst []uint16, message []byte) ([]uint16, error) {
	if len(message) != c.bytes {
		return dst, fmt.Errorf("encode a message: expected %d bytes, got %d bytes", c.bytes, len(message))
	}
	next := 0
	ports := dst
	for i := range c.packets {
		var port uint16
		if port, next = c.Port(message, i, next); port == 0 {
			return dst, fmt.Errorf("encode a message: packet %d requires port 0, to which no packet can be sent", i)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// Port returns the port of a message's i-th packet. next is the lowest offset that
// the port can have; only Differences uses it. Port returns that of packet i+1, to
// pass with it; pass 0 with packet 0. The message must have the codec's size. Port
// allocates nothing.
func (c *Codec) Port(message []byte, i, next int) (port uint16, after int) {
	data, number := c.data(message, i), i%c.block
	offset := data
	switch c.encoding.Scheme {
	case Sequence:
		offset = data<<c.encoding.SequenceBits | number
	case Ranges:
		offset = number<<c.encoding.DataBits + data
	case Differences:
		if number == 0 {
			next = 0
		}
		offset = next + data
	}
	return c.encoding.Base + uint16(offset), offset + 1
}

// Uses reports whether a packet of a message has the port. The message must have
// the codec's size. Uses allocates nothing.
func (c *Codec) Uses(message []byte, port uint16) bool {
	if port < c.First() || port > c.Last() {
		return false
	}
	for i, next := 0, 0; i < c.packets; i++ {
		var p uint16
		if p, next = c.Port(message, i, next); p == port {
			return true
		}
	}
	return false
}

// data returns the data of a message's i-th packet: the next bits of the message,
// the most significant bit first. Bits beyond the end of the message are zero.
func (c *Codec) data(message []byte, i int) (data int) {
	for bit := i * c.encoding.DataBits; bit < (i+1)*c.encoding.DataBits; bit++ {
		data <<= 1
		if bit < 8*len(message) {
			data |= int(message[bit/8]) >> (7 - bit%8) & 1
		}
	}
	return data
}

// padding returns the mask of the bits of the last packet's data that are beyond
// the end of the message.
func (c *Codec) padding() int { return 1<<(c.packets*c.encoding.DataBits-8*c.bytes) - 1 }
