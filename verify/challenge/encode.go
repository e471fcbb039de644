package challenge

import "fmt"

// AppendPorts appends the ports that the packets of a message go to, in the
// order of sending. It fails if the message has another size, or needs port 0,
// to which nothing can be sent.
func (c *Codec) AppendPorts(dst []uint16, message []byte) ([]uint16, error) {
	if len(message) != c.bytes {
		return dst, fmt.Errorf("encode a message of %d bytes: this is for %d", len(message), c.bytes)
	}
	last := 0 // of Differences: one above the port before, from the base
	ports := dst
	for i := range c.packets {
		data := c.data(message, i)
		number := i % c.block
		offset := data
		switch c.e.Scheme {
		case Sequence:
			offset = data<<c.e.SequenceBits | number
		case Ranges:
			offset = number<<c.e.DataBits + data
		case Differences:
			if number == 0 {
				last = 0
			}
			offset = last + data
			last = offset + 1
		}
		port := c.e.Base + uint16(offset)
		if port == 0 {
			return dst, fmt.Errorf("encode a message: packet %d would go to port 0", i)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// data returns what the i-th packet says of a message: its next bits, the most
// significant one first, and zeros behind its end.
func (c *Codec) data(message []byte, i int) (data int) {
	for bit := i * c.e.DataBits; bit < (i+1)*c.e.DataBits; bit++ {
		data <<= 1
		if bit < 8*len(message) {
			data |= int(message[bit/8]) >> (7 - bit%8) & 1
		}
	}
	return data
}

// padding is which bits of the last packet's data lie behind the end.
func (c *Codec) padding() int { return 1<<(c.packets*c.e.DataBits-8*c.bytes) - 1 }
