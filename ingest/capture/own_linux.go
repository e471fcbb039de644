package capture

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
)

// own is which addresses are the host's: a router hears packets that are for
// others, too.
type own struct {
	given []netip.Addr // by the configuration; none, or an unspecified one: all
	all   atomic.Pointer[[]netip.Addr]
}

// look reads the host's addresses.
func (o *own) look() error {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("read the host's addresses: %w", err)
	}
	var all []netip.Addr
	for _, a := range list {
		if p, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(p.IP); ok {
				all = append(all, addr.Unmap())
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	o.all.Store(&all)
	return nil
}

// is reports whether an address is the host's.
func (o *own) is(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	_, found := slices.BinarySearchFunc(*o.all.Load(), a, netip.Addr.Compare)
	return found
}

// has reports whether knocks to an address are taken.
func (o *own) has(a netip.Addr) bool {
	if !o.is(a) {
		return false
	}
	for _, g := range o.given {
		if g.WithZone("") == a || g.IsUnspecified() && (g.Is6() || a.Is4()) {
			return true
		}
	}
	return len(o.given) == 0
}
