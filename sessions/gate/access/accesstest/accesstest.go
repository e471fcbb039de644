// Package accesstest has a table of grants and the sources that each admits. It
// tests the rule itself and every enforcer of it.
package accesstest

import (
	"net/netip"
	"slices"

	"sallyport/sessions/gate/access"
)

// Link1 and Link2 are the interfaces of this host on which link-local sources
// arrive, in the form of zones: their indices.
const (
	Link1 = "1001"
	Link2 = "1002"
)

// Sources are the addresses that strangers and clients come from.
var Sources = []netip.Addr{
	netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3"),
	netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3"), netip.MustParseAddr("2001:db8:0:1::2"),
	netip.MustParseAddr("fe80::2%" + Link1), netip.MustParseAddr("fe80::3%" + Link1), netip.MustParseAddr("fe80::2%" + Link2),
}

// Row is one grant.
type Row struct {
	Name       string
	Grant      string // the client's address, as the source of a packet has it
	PrefixLen4 int    // 0: one address
	PrefixLen6 int
	Anyone     bool
	In         []string // the admitted sources
	// OnAnyLink are the sources that are also admitted where packets have no
	// zone: in the firewall and in the filter of a socket.
	OnAnyLink []string
}

// Rows are the grants.
var Rows = []Row{
	{Name: "IPv4", Grant: "198.51.100.2", PrefixLen6: 128, In: []string{"198.51.100.2"}},
	{Name: "IPv4, networks count", Grant: "198.51.100.2", PrefixLen6: 64, In: []string{"198.51.100.2"}},
	{Name: "IPv4, mapped", Grant: "::ffff:198.51.100.2", PrefixLen6: 128, In: []string{"198.51.100.2"}},
	{Name: "IPv4, mapped, networks count", Grant: "::ffff:198.51.100.2", PrefixLen6: 64, In: []string{"198.51.100.2"}},
	{Name: "IPv4, a network", Grant: "198.51.100.200", PrefixLen4: 24, PrefixLen6: 128, In: []string{"198.51.100.2", "198.51.100.3"}},
	{Name: "IPv4, a network, mapped", Grant: "::ffff:198.51.0.1", PrefixLen4: 16, PrefixLen6: 64, In: []string{"198.51.100.2", "198.51.100.3"}},
	{Name: "IPv4, two addresses", Grant: "198.51.100.3", PrefixLen4: 31, PrefixLen6: 128, In: []string{"198.51.100.2", "198.51.100.3"}},
	{Name: "IPv4, two other addresses", Grant: "198.51.100.1", PrefixLen4: 31, PrefixLen6: 128},
	{Name: "IPv4, another network", Grant: "198.51.101.2", PrefixLen4: 24, PrefixLen6: 128},
	{Name: "IPv6, networks of IPv4 count", Grant: "2001:db8::2", PrefixLen4: 16, PrefixLen6: 128, In: []string{"2001:db8::2"}},
	{Name: "IPv6", Grant: "2001:db8::2", PrefixLen6: 128, In: []string{"2001:db8::2"}},
	{Name: "IPv6, networks count", Grant: "2001:db8::2", PrefixLen6: 64, In: []string{"2001:db8::2", "2001:db8::3"}},
	{Name: "a neighbour, networks count", Grant: "2001:db8:0:1:ffff::", PrefixLen6: 64, In: []string{"2001:db8:0:1::2"}},
	{Name: "link-local", Grant: "fe80::2%" + Link1, PrefixLen6: 128, In: []string{"fe80::2%" + Link1}, OnAnyLink: []string{"fe80::2%" + Link2}},
	{Name: "link-local, networks count", Grant: "fe80::2%" + Link1, PrefixLen6: 64, In: []string{"fe80::2%" + Link1}, OnAnyLink: []string{"fe80::2%" + Link2}},
	{Name: "another link", Grant: "fe80::2%" + Link2, PrefixLen6: 64, In: []string{"fe80::2%" + Link2}, OnAnyLink: []string{"fe80::2%" + Link1}},
	{Name: "anyone", Grant: "198.51.100.2", PrefixLen6: 64, Anyone: true, In: []string{
		"198.51.100.2", "198.51.100.3", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::2", "fe80::2%" + Link1, "fe80::3%" + Link1, "fe80::2%" + Link2,
	}},
	{Name: "another address", Grant: "192.0.2.1", PrefixLen6: 64},
}

// Address is the address of the grant.
func (r Row) Address() netip.Addr { return netip.MustParseAddr(r.Grant) }

// Peers returns the peers that the grant admits.
func (r Row) Peers() []access.Peer {
	if r.Anyone {
		return []access.Peer{access.Anyone4, access.Anyone6}
	}
	return []access.Peer{access.PeerIn(r.Address(), r.PrefixLen4, r.PrefixLen6)}
}

// Has reports whether a source is admitted.
func (r Row) Has(source netip.Addr) bool { return slices.Contains(r.In, source.String()) }

// HasOnAnyLink is Has where packets have no zone.
func (r Row) HasOnAnyLink(source netip.Addr) bool {
	return r.Has(source) || slices.Contains(r.OnAnyLink, source.String())
}
