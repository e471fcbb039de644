package capture

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"sallyport/ingest/udp"
)

// own is which addresses are the host's: a router hears packets that are for
// others, too.
type own struct {
	given udp.Addresses // by the configuration
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

// has reports whether packets to an address are taken.
func (o *own) has(a netip.Addr) bool { return o.is(a) && o.given.Has(a) }
