package gate

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
)

// TestKnocksFromSeveralAddresses: a grant opens the services of which one lease has all
// addresses that its knocks came from, and the log names the others.
func TestKnocksFromSeveralAddresses(t *testing.T) {
	var text bytes.Buffer
	opened := map[string]*recorded{"narrow": {}, "middle": {}, "wide": {}}
	lengths := map[string][2]int{"narrow": {0, 128}, "middle": {24, 128}, "wide": {16, 64}}
	var list []*Service
	for _, name := range []string{"narrow", "middle", "wide"} {
		list = append(list, NewService(ServiceConfig{
			Name: name, PrefixLen4: lengths[name][0], PrefixLen6: lengths[name][1], Policy: serviceOf("x", 128).terms,
			Enforcers: []access.Enforcer{opened[name]}, Clock: system, Log: slog.New(slog.NewTextHandler(&text, nil)),
		}))
	}
	s, err := NewServices(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		address string
		differ  uint8
		want    map[string]string // the peer of each service
	}{
		{"192.0.2.200", 0, map[string]string{"narrow": "192.0.2.200/32", "middle": "192.0.2.0/24", "wide": "192.0.0.0/16"}},
		{"198.51.100.1", 1, map[string]string{"middle": "198.51.100.0/24", "wide": "198.51.0.0/16"}},
		{"198.51.7.1", 8, map[string]string{"middle": "198.51.7.0/24", "wide": "198.51.0.0/16"}},
		{"203.0.113.1", 9, map[string]string{"wide": "203.0.0.0/16"}},
		{"203.1.113.1", 17, map[string]string{}},
		{"2001:db8::1", 0, map[string]string{"narrow": "2001:db8::1/128", "middle": "2001:db8::1/128", "wide": "2001:db8::/64"}},
		{"2001:db8:1::1", 64, map[string]string{"wide": "2001:db8:1::/64"}},
		{"2001:db8:2::1", 65, map[string]string{}},
		{"fe80::1%2", 0, map[string]string{"narrow": "fe80::1/128%2", "middle": "fe80::1/128%2", "wide": "fe80::1/128%2"}},
	} {
		text.Reset()
		g := grant("com1", row.address)
		g.Differ = row.differ
		if err := s.openOne(g); err != nil {
			t.Errorf("%s, %d: %v", row.address, row.differ, err)
		}
		for name, e := range opened {
			var has string
			for p := range e.open {
				if p.Prefix.Contains(g.Address.WithZone("")) {
					has = p.String()
				}
			}
			told := strings.Contains(text.String(), `msg="knocks from several addresses; the service stays closed" service=`+name+" client=com1 address=")
			want := row.want[name]
			if has != want || told != (want == "") || s.Covers(access.ID(name), g) != (want != "") {
				t.Errorf("%s, %d: %s opens for %q, told %v: %s", row.address, row.differ, name, has, told, text.String())
			}
		}
	}
	one := grant("com1", "192.0.2.1")
	if one.Differ = 1; list[0].Open(one) == nil {
		t.Error("a grant from two addresses opened a service for one")
	}
}

// TestLeaseOfAPrefix: all addresses of a prefix have one lease, which a grant from any of
// them extends, and which a command from any of them closes. It counts as one address of
// its client, can be kept, and is renewed as it is.
func TestLeaseOfAPrefix(t *testing.T) {
	now := epoch
	at := func() time.Time { return now }
	wall := &recorded{}
	s := NewService(ServiceConfig{
		Name: "web", PrefixLen4: 24, PrefixLen6: 128, Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 1},
		Enforcers: []access.Enforcer{wall}, Clock: clock.Clock{Wall: at, Monotonic: at, Boot: at}, Log: slog.New(slog.DiscardHandler),
	})
	one, other := access.PeerIn(netip.MustParseAddr("192.0.2.1"), 24, 128), access.PeerIn(netip.MustParseAddr("192.0.3.1"), 24, 128)
	expect := func(when string, want ...access.Peer) {
		t.Helper()
		for _, p := range []access.Peer{one, other} {
			if _, in := wall.open[p]; in != slices.Contains(want, p) || len(wall.open) != len(want) {
				t.Errorf("%s: %v", when, wall.open)
			}
		}
	}
	do := func(c Command, address string) {
		t.Helper()
		c.Grant = grant("com1", address)
		if err := s.Execute(c); err != nil {
			t.Fatal(err)
		}
	}
	do(Command{}, "192.0.2.1")
	do(Command{}, "192.0.2.254")
	expect("twice from one prefix", one)
	if left := wall.open[one].Sub(now); left != 20*time.Second || s.leases.Len() != 1 {
		t.Errorf("%s, %d leases", left, s.leases.Len())
	}
	do(Command{}, "192.0.3.7")
	expect("from another prefix, which displaces", other)
	do(Command{UntilClosed: true}, "192.0.3.9")
	now = now.Add(time.Hour)
	for range 100 {
		now = now.Add(time.Second)
		s.renew(now)
	}
	list := s.appendLeases(nil)
	if len(list) != 1 || list[0].Peer != other || list[0].Address != netip.MustParseAddr("192.0.3.9") {
		t.Errorf("listed %+v", list)
	}
	expect("kept", other)
	do(Command{Action: Close}, "192.0.2.1")
	expect("closed from elsewhere", other)
	do(Command{Action: Close}, "192.0.3.200")
	expect("closed")
}
