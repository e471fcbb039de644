package xdp

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Address is an address of this host, and the hardware address of an interface where
// frames for it arrive. An address that arrives at several interfaces is there several
// times.
type Address struct {
	IP  netip.Addr
	MAC [6]byte
}

// key is struct address of bpf/layout.h.
type key struct {
	IP  [16]byte
	MAC [6]byte
	_   [2]byte
}

func (a Address) key() key { return key{IP: a.IP.Unmap().WithZone("").As16(), MAC: a.MAC} }

// hostState is struct host of bpf/layout.h, which only the holder writes.
type hostState struct {
	Flows portRange
	// Addresses is another number after each removal of an address: each processor
	// then looks into the map again.
	Addresses uint32
}

func (p *Program) setState(next hostState) error {
	if err := p.host.Put(uint32(0), next); err != nil {
		return err
	}
	p.state = next
	return nil
}

// SetAddresses replaces the addresses: the program refuses only datagrams to these. At
// no time does an address miss that is in both sets. More than 4096 are an error; then
// the set has the first ones that fit, and datagrams to the others go to the sockets.
func (p *Program) SetAddresses(all []Address) error {
	wanted := make(map[key]bool, len(all))
	for _, a := range all {
		wanted[a.key()] = true
	}
	var failed []error
	removed := false
	for k := range p.present {
		if wanted[k] {
			continue
		}
		removed = true
		if err := p.addresses.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			failed = append(failed, fmt.Errorf("remove an address from the shield: %w", err))
			continue
		}
		delete(p.present, k)
	}
	if removed {
		next := p.state
		next.Addresses++
		if err := p.setState(next); err != nil {
			failed = append(failed, fmt.Errorf("make the shield forget removed addresses: %w", err))
		}
	}
	left := 0
	for _, a := range all {
		k := a.key()
		if p.present[k] {
			continue
		}
		switch err := p.addresses.Put(k, uint32(1)); {
		case errors.Is(err, unix.E2BIG):
			left++
		case err != nil:
			failed = append(failed, fmt.Errorf("add %s to the shield: %w", a.IP, err))
		default:
			p.present[k] = true
		}
	}
	if left > 0 {
		failed = append(failed, fmt.Errorf("%d addresses do not fit into the shield, which has room for %d", left, maxAddresses))
	}
	return errors.Join(failed...)
}
