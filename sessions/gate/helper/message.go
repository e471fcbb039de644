package helper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Kind is what a Change does.
type Kind uint8

// The kinds.
const (
	Open  Kind = iota + 1 // let an address in for a time, from now
	Close                 // let it in no more; what is connected lives on
	Cut                   // let it in no more, and end what is connected
	Knock                 // a UDP port takes knocks for a time, from now
	Exit                  // the server stops in order
)

// Change is one thing that the server asks for.
type Change struct {
	Kind    Kind
	Number  uint16        // of the service; of Knock the port
	For     time.Duration // of Open and Knock, in whole milliseconds, below 49 days
	Address netip.Addr    // of Open, Close and Cut; zero: everyone. Without a zone
}

const (
	// changeSize is kind, family (0, 4 or 6), number, milliseconds, address.
	changeSize = 1 + 1 + 2 + 4 + 16
	// MaxChanges is how many changes a request has at the most.
	MaxChanges = 1024
	maxRequest = MaxChanges * changeSize
	maxReply   = 1024
)

// AppendBinary appends the change as Parse reads it.
func (c Change) AppendBinary(b []byte) ([]byte, error) {
	ms := c.For.Milliseconds()
	if ms < 0 || ms > math.MaxUint32 {
		return b, fmt.Errorf("a time of %s cannot be asked for", c.For)
	}
	var family byte
	var address [16]byte
	switch {
	case c.Address.Is4():
		family = 4
		v4 := c.Address.As4()
		copy(address[:], v4[:])
	case c.Address.Is6():
		family, address = 6, c.Address.As16()
	}
	b = append(b, byte(c.Kind), family)
	b = binary.BigEndian.AppendUint16(b, c.Number)
	b = binary.BigEndian.AppendUint32(b, uint32(ms))
	return append(b, address[:]...), nil
}

// Parse reads the changes of a request. Nothing of b is retained.
func Parse(b []byte) ([]Change, error) {
	if len(b) == 0 || len(b)%changeSize != 0 || len(b) > maxRequest {
		return nil, fmt.Errorf("a request of %d bytes", len(b))
	}
	changes := make([]Change, 0, len(b)/changeSize)
	for ; len(b) > 0; b = b[changeSize:] {
		c, err := parseChange(b[:changeSize])
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

func parseChange(b []byte) (c Change, err error) {
	c.Kind = Kind(b[0])
	c.Number = binary.BigEndian.Uint16(b[2:])
	c.For = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Millisecond
	address := [16]byte(b[8:])
	used := 0
	switch b[1] {
	case 0:
	case 4:
		c.Address, used = netip.AddrFrom4([4]byte(address[:4])), 4
	case 6:
		c.Address, used = netip.AddrFrom16(address), 16
	default:
		return c, fmt.Errorf("an address of family %d", b[1])
	}
	for _, rest := range address[used:] {
		if rest != 0 {
			return c, errors.New("something stands behind the address")
		}
	}
	if c.Address.Is4In6() {
		return c, errors.New("an IPv4 address in the form of an IPv6 one")
	}
	if c.Kind < Open || c.Kind > Exit {
		return c, fmt.Errorf("a change of kind %d", c.Kind)
	}
	return c, nil
}
