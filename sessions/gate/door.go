package gate

import (
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Door is what a lease opens. A Service calls it, one call at a time.
type Door interface {
	// Admit lets an address in until a time, which takes the place of any
	// before. Everyone stands for every address. If it fails, the door is as
	// closed as it was.
	Admit(a netip.Addr, until time.Time) error
	// Dismiss ends what was admitted. Cut: running connections end too.
	Dismiss(gone []netip.Addr, cut bool)
	// Close ends everything, for good.
	Close()
}

// Everyone stands for every address.
var Everyone netip.Addr

// Grain is how many bits of an IPv6 address tell clients apart: 128, or 64
// for hosts that change the rest of theirs for privacy (RFC 8981).
type Grain int

// Of returns the address by which a door knows a client. Link-local addresses
// count whole: the first half of theirs is the same for all.
func (g Grain) Of(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if g != 64 || !a.Is6() || a.IsLinkLocalUnicast() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// admitted is whom a door lets in, and until when.
type admitted struct {
	grain Grain
	until map[netip.Addr]time.Time
}

func newAdmitted(g Grain) admitted { return admitted{g, map[netip.Addr]time.Time{}} }

// only is one address.
func only(g Grain, a netip.Addr, until time.Time) admitted {
	return admitted{g, map[netip.Addr]time.Time{a: until}}
}

// allows reports whether an address may come in. It is that of a peer.
func (a *admitted) allows(peer netip.Addr, now time.Time) bool {
	return now.Before(a.until[a.grain.Of(peer)]) || now.Before(a.until[Everyone])
}

// dismiss returns whether a peer's address was among those gone, and is not
// let in all the same.
func (a *admitted) dismiss(gone []netip.Addr) func(peer netip.Addr) bool {
	out := make(map[netip.Addr]bool, len(gone))
	for _, g := range gone {
		delete(a.until, g)
		out[g] = true
	}
	now := time.Now()
	return func(peer netip.Addr) bool {
		return (out[Everyone] || out[a.grain.Of(peer)]) && !a.allows(peer, now)
	}
}

// remote returns a peer's address as a Grant names it: an IPv4-mapped one as
// IPv4, the zone of a link-local one as the number of the interface.
func remote(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return numbered(tcp.AddrPort().Addr())
}

func numbered(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Zone() == "" {
		return a
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return a // the interface has no name: its number already
	}
	return a.WithZone(strconv.Itoa(i.Index))
}
