package capture

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"sallyport/ingest/udp"
)

// localAddrs are the addresses of the host. A router also receives packets that
// are for other hosts.
type localAddrs struct {
	configured udp.Addresses
	all        atomic.Pointer[[]netip.Addr] // sorted
}

// refresh reads the host's addresses.
func (o *localAddrs) refresh() error {
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

// has reports whether the host has an address.
func (o *localAddrs) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	_, found := slices.BinarySearchFunc(*o.all.Load(), a, netip.Addr.Compare)
	return found
}

// accepts reports whether packets to an address are accepted.
func (o *localAddrs) accepts(a netip.Addr) bool { return o.has(a) && o.configured.Has(a) }
