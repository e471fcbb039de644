package web

import (
	"bytes"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control makes a control message as the kernel does.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// TestAnswerFrom: an answer keeps the address of the query, and leaves the interface to
// the routing, except for a link-local address.
func TestAnswerFrom(t *testing.T) {
	four := func(index byte) []byte {
		return control(unix.IPPROTO_IP, unix.IP_PKTINFO, []byte{index, index, index, index, 192, 0, 2, 1, 192, 0, 2, 1})
	}
	six := func(a string, index byte) []byte {
		return control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(netip.MustParseAddr(a).AsSlice(), index, index, index, index))
	}
	for name, test := range map[string]struct{ in, want []byte }{
		"IPv4":       {four(3), four(0)},
		"IPv6":       {six("2001:db8::1", 3), six("2001:db8::1", 0)},
		"mapped":     {six("::ffff:192.0.2.1", 3), six("::ffff:192.0.2.1", 0)},
		"link-local": {six("fe80::1", 3), six("fe80::1", 3)},
		"none":       {nil, nil},
		"another":    {control(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 16)), nil},
		"short":      {control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 4)), nil},
		"cut off":    {four(3)[:8], nil},
	} {
		if got := answerFrom(bytes.Clone(test.in)); !bytes.Equal(got, test.want) {
			t.Errorf("%s: %x, want %x", name, got, test.want)
		}
	}
}
