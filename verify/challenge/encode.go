package challenge

import "fmt"

// AppendPorts appends the destination ports of a message's packets, in the order
// of sending. It returns an error if the message does not have the codec's size,
// or requires port 0, to which no packet can be sent.
func (c *Codec) AppendPorts(dst []uint16, message []byte) ([]uint16, error) {
	if len(message) != c.bytes {
		return dst, fmt.Errorf("encode a message: expected %d bytes, got %d bytes", c.bytes, len(message))
	}
	next := 0 // of Differences: the lowest offset that the next port can have
	ports := dst
	for i := range c.packets {
		data := c.data(message, i)
		number := i % c.block
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
			next = offset + 1
		}
		port := c.encoding.Base + uint16(offset)
		if port == 0 {
			return dst, fmt.Errorf("encode a message: packet %d requires port 0, to which no packet can be sent", i)
		}
		ports = append(ports, port)
	}
	return ports, nil
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
