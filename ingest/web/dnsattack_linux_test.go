package web

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/bench/netns"
)

// TestAttacksOverDNS: messages that break the rules of DNS end their connection over TCP,
// or get FORMERR, and an answer over UDP is not longer than they are; the next query is
// answered.
func TestAttacksOverDNS(t *testing.T) {
	t.Parallel()
	_, at := serveDNS(t, "127.0.0.1:0", DNSConfig{Exchanges: newResponders(netip.Addr{})})
	header := func(counts ...uint16) []byte {
		b := []byte{0x12, 0x34, 0, 0}
		for _, n := range counts {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	question := "\x01k\x07example\x03com\x00\x00\x06\x00\x01"
	whole := append(header(1, 0, 0, 0), question...)
	for name, m := range map[string]struct {
		bytes  []byte
		answer bool // FORMERR
	}{
		"nothing":                   {nil, false},
		"less than a header":        {whole[:11], false},
		"a name of itself":          {append(header(1, 0, 0, 0), "\xc0\x0c\x00\x06\x00\x01"...), true},
		"two names of each other":   {append(header(1, 0, 0, 0), "\xc0\x0e\xc0\x0c\x00\x06\x00\x01"...), true},
		"a name beyond the end":     {append(header(1, 0, 0, 0), "\xc0\xff\x00\x06\x00\x01"...), true},
		"a label beyond the end":    {append(header(1, 0, 0, 0), "\x3fk"...), true},
		"65,535 questions":          {append(header(65535, 0, 0, 0), question...), true},
		"65,535 records":            {append(header(1, 65535, 65535, 65535), question...), true},
		"no question":               {header(0, 0, 0, 0), true},
		"an OPT record with a name": {append(append(header(1, 0, 0, 1), question...), "\x01a\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"...), true},
		"an OPT record cut off":     {append(append(header(1, 0, 0, 1), question...), "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x09"...), true},
	} {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(netns.Deadline(t))
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m.bytes))), m.bytes...))
		if !m.answer {
			if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("%s: %d bytes of answer", name, n)
			}
			continue
		}
		answer := make([]byte, 2)
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		answer = make([]byte, binary.BigEndian.Uint16(answer))
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := unpack(t, answer); got.RCode != dnsmessage.RCodeFormatError || len(answer) > len(m.bytes) {
			t.Errorf("%s: %+v, %d bytes for %d", name, got.Header, len(answer), len(m.bytes))
		}
		if _, err := overTCP(c, whole); err != nil {
			t.Errorf("the query after %s: %v", name, err)
		}
	}
}
