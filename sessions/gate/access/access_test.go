package access_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/access/accesstest"
)

var later = time.Unix(1_800_000_000, 0)

func TestPeers(t *testing.T) {
	for _, row := range accesstest.Rows {
		var s access.Set
		for _, p := range row.Peers() {
			if !p.IsValid() {
				t.Errorf("%s: %s is no peer", row.Name, p)
			}
			s.Put(p, later)
		}
		for _, from := range accesstest.Sources {
			in := row.Has(from)
			if got := s.Allows(from, later.Add(-1)); got != in {
				t.Errorf("%s: %s is let in: %v", row.Name, from, got)
			}
			if mapped := netip.AddrFrom16(from.As16()).WithZone(from.Zone()); s.Allows(mapped, later.Add(-1)) != in {
				t.Errorf("%s: %s, mapped, is let in: %v", row.Name, from, !in)
			}
			if s.Allows(from, later) || s.Has(from) != in {
				t.Errorf("%s: %s when its time is over: %v, has %v", row.Name, from, s.Allows(from, later), s.Has(from))
			}
		}
	}
}

// TestPeerHasOneForm: all addresses that a peer admits have it as their peer.
func TestPeerHasOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "IPv4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		} else {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")))
		}
		four := rapid.IntRange(access.PrefixMin4, access.PrefixHost4).Draw(t, "bits of IPv4")
		p := access.PeerIn(a, four, rapid.SampledFrom([]int{access.PrefixHost, access.PrefixNetwork}).Draw(t, "bits"))
		if !p.IsValid() || !p.Prefix.Contains(a.Unmap()) {
			t.Fatalf("%s is let in by %s", a, p)
		}
		four, six := p.Lengths()
		again := access.PeerIn(p.Prefix.Addr().WithZone(p.Zone), four, six)
		if again != p {
			t.Fatalf("%s, and then %s", p, again)
		}
	})
}

func TestInvalidPeers(t *testing.T) {
	a := netip.MustParseAddr("2001:db8::1")
	for name, p := range map[string]access.Peer{
		"nothing": {}, "no address": access.PeerOf(netip.Addr{}, 128), "56 bits": access.PeerOf(a, 56),
		"more than its bits":   {Prefix: netip.PrefixFrom(a, 64)},
		"part of link-local":   {Prefix: netip.MustParsePrefix("fe80::/64")},
		"too large of IPv4":    {Prefix: netip.MustParsePrefix("192.0.0.0/15")},
		"15 bits of IPv4":      access.PeerIn(netip.MustParseAddr("192.0.2.1"), 15, 128),
		"33 bits of IPv4":      access.PeerIn(netip.MustParseAddr("192.0.2.1"), 33, 128),
		"more than 24 bits":    {Prefix: netip.MustParsePrefix("192.0.2.1/24")},
		"a network, an ISN":    {Prefix: netip.MustParsePrefix("192.0.2.0/24"), ISN: 1},
		"a zone where none is": {Prefix: netip.PrefixFrom(a, 128), Zone: "2"},
		"anyone on a link":     {Prefix: access.Anyone6.Prefix, Zone: "2"},
		"a mapped address":     {Prefix: netip.MustParsePrefix("::ffff:192.0.2.1/128")},
	} {
		var s access.Set
		if s.Put(p, later); p.IsValid() || s.Len() != 0 {
			t.Errorf("%s: %s is a peer", name, p)
		}
	}
}

func TestServiceIDs(t *testing.T) {
	web, ssh := access.ID("web"), access.ID("ssh")
	if web == ssh || web != access.ID("web") || len(web.String()) != 16 {
		t.Errorf("web %s, ssh %s", web, ssh)
	}
	if err := access.Distinct([]access.ServiceID{web, ssh}); err != nil {
		t.Error(err)
	}
	if access.Distinct([]access.ServiceID{web, ssh, web}) == nil {
		t.Error("two services with one identifier")
	}
}

func TestTransactionIsUndone(t *testing.T) {
	failure := errors.New("no")
	peer := func(a string) access.Peer { return access.PeerOf(netip.MustParseAddr(a), 128) }
	there, fresh, gone := peer("192.0.2.1"), peer("192.0.2.2"), peer("192.0.2.3")
	changes := []access.Change{{Peer: there, Until: later.Add(1)}, {Peer: fresh, Until: later}, {Peer: gone, Cut: true}}
	for _, row := range []struct {
		name  string
		fail  func(*access.Transaction, error)
		errs  []error
		until []time.Time // of there and fresh
	}{
		{"well", func(*access.Transaction, error) {}, nil, []time.Time{later.Add(1), later}},
		{"all", (*access.Transaction).Fail, []error{failure, failure, nil}, []time.Time{later, {}}},
		{"added", (*access.Transaction).FailAdded, []error{nil, failure, nil}, []time.Time{later.Add(1), {}}},
	} {
		var s access.Set
		s.Put(there, later)
		s.Put(gone, later)
		tx := s.Begin(changes)
		if !tx.Opens() || !tx.Adds() || !tx.Revokes() {
			t.Errorf("%s: opens %v, adds %v, revokes %v", row.name, tx.Opens(), tx.Adds(), tx.Revokes())
		}
		row.fail(tx, failure)
		cut, since := tx.Cut()
		if !since.IsZero() || !slices.Equal(tx.Errs(), row.errs) || cut.Len() != 1 || !cut.Has(gone.Prefix.Addr()) {
			t.Errorf("%s: errors %v, cut %v", row.name, tx.Errs(), cut)
		}
		if !s.Put(there, time.Time{}).Equal(row.until[0]) || !s.Put(fresh, time.Time{}).Equal(row.until[1]) || !s.Put(gone, later).IsZero() {
			t.Errorf("%s: not as it was", row.name)
		}
	}
	errs := access.Failed(changes, failure)
	if !slices.Equal(errs, []error{failure, failure, nil}) || access.Failed(changes[2:], failure) != nil {
		t.Errorf("failed: %v", errs)
	}
}
