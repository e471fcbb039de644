package nftcheck

import "encoding/binary"

// attributes are those of a netlink message, or nested in one. An attribute that
// is truncated is missing, and so are all after it; then whole is false.
type attributes struct {
	list  []attribute
	whole bool
}

type attribute struct {
	kind uint16
	data []byte // of the message
}

const attributeHeader = 4

// parse never fails: it returns all attributes that it can read.
func parse(b []byte) (a attributes) {
	for len(b) > 0 {
		if len(b) < attributeHeader {
			return a
		}
		length := int(binary.NativeEndian.Uint16(b))
		if length < attributeHeader || length > len(b) {
			return a
		}
		kind := binary.NativeEndian.Uint16(b[2:]) & 0x3fff // without the flags
		a.list = append(a.list, attribute{kind, b[attributeHeader:length]})
		b = b[min((length+3)&^3, len(b)):]
	}
	a.whole = true
	return a
}

// get returns the first attribute of a kind.
func (a attributes) get(kind uint16) (data []byte, ok bool) {
	for _, x := range a.list {
		if x.kind == kind {
			return x.data, true
		}
	}
	return nil, false
}

func (a attributes) has(kind uint16) bool { _, ok := a.get(kind); return ok }

// number returns an attribute of 1, 2, 4 or 8 bytes, big-endian, as all of
// nftables are; 0 if there is none.
func (a attributes) number(kind uint16) (n uint64) {
	data, _ := a.get(kind)
	if len(data) > 8 {
		return 0
	}
	for _, b := range data {
		n = n<<8 | uint64(b)
	}
	return n
}

func (a attributes) text(kind uint16) string {
	data, _ := a.get(kind)
	for i, b := range data {
		if b == 0 {
			return string(data[:i])
		}
	}
	return string(data)
}

func (a attributes) nested(kind uint16) attributes {
	data, _ := a.get(kind)
	return parse(data)
}
