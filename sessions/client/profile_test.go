package client

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestProfileOpening: a library's profile is checked as the file of one is.
func TestProfileOpening(t *testing.T) {
	for _, row := range []struct {
		change func(*Profile)
		want   string // in the error; empty: it is valid
	}{
		{func(p *Profile) { p.Addresses, p.OpenFor = parseAll("127.0.0.1"), time.Second }, ""},
		{func(p *Profile) { p.Service, p.Handshake = ":22", HandshakeGranted }, ""},
		{func(p *Profile) { p.Server, p.Addresses = "gate.example", parseAll("127.0.0.1") }, "the client's own host"},
		{func(p *Profile) { p.Addresses = parseAll("::ffff:192.0.2.1") }, "not an address"},
		{func(p *Profile) { p.Addresses = slices.Repeat(parseAll("192.0.2.1"), 2) }, "a second time"},
		{func(p *Profile) { p.Addresses = slices.Repeat(parseAll("192.0.2.1"), 9) }, "got 9 addresses"},
		{func(p *Profile) { p.OpenFor = -1 }, "expected a time above 0"},
		{func(p *Profile) { p.Handshake = HandshakeGranted }, "requires a service"},
		{func(p *Profile) { p.Service, p.Handshake = ":22/udp", HandshakeGranted }, "requires a TCP service"},
		{func(p *Profile) { p.Service, p.Handshake = ":22", "anyone" }, `expected handshake = "granted"`},
	} {
		p := profile()
		row.change(&p)
		err := p.validate()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
