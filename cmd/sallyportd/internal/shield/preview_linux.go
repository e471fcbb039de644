package shield

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

// Preview is an interface before the shield is attached.
type Preview struct {
	Name string
	Mode string // that the driver announces; empty: not known
	// Owner is whose XDP program is attached.
	Owner xdp.Owner
	Err   string // why it cannot have the shield
}

// Previews returns the interfaces that would get the shield of a server that receives
// at these addresses; empty: at all of this host. It changes nothing, and requires no
// privilege.
func Previews(p holder.ShieldPolicy, listen []netip.Addr) ([]Preview, error) {
	h, err := readHost()
	if err != nil {
		return nil, err
	}
	chosen, why := h.selected(p.Interfaces, listen)
	var all []Preview
	for _, l := range chosen {
		of := Preview{Name: l.name}
		found, err := xdp.ProbeInterface(l.name)
		of.Owner = found.Owner
		switch {
		case err != nil:
			of.Err = err.Error()
		case found.Mode != 0:
			of.Mode = found.Mode.String()
		}
		all = append(all, of)
	}
	for _, name := range slices.Sorted(maps.Keys(why)) {
		all = append(all, Preview{Name: name, Err: why[name]})
	}
	slices.SortFunc(all, func(a, b Preview) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
