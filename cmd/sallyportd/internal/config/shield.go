package config

import (
	"net/netip"
	"slices"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
)

// Shield has the keys of the program at the network driver.
type Shield struct {
	// Interfaces are the names of the interfaces that get the program; empty: those
	// with an address in listen, or all by which other hosts reach this one.
	Interfaces []string
	Shares     bool // each client gets at most its share of a ring that fills
	Mirror     bool // drop nothing: count, and pass every frame to the kernel

	listen []netip.Addr // see listenOf
}

const (
	maxInterfaces    = 64
	maxInterfaceName = 15 // bytes, of Linux
)

// shield checks the keys of the shield.
func (r *raw) shield(f *tomlfile.File, c *Config) error {
	if len(r.ShieldInterfaces) > maxInterfaces {
		return f.Errorf("shield_interfaces", "got %d", len(r.ShieldInterfaces))
	}
	for i, name := range r.ShieldInterfaces {
		switch {
		case !isInterfaceName(name):
			return f.Errorf("shield_interfaces", "got %q (entry %d), which is not the name of an interface", name, i+1)
		case slices.Contains(r.ShieldInterfaces[:i], name):
			return f.Errorf("shield_interfaces", "got %q twice", name)
		}
	}
	if f.Has("shield_interfaces") && len(r.ShieldInterfaces) == 0 {
		return f.Errorf("shield_interfaces", "got an empty list; remove the key to let the server choose")
	}
	if r.Shield == "xdp" {
		c.Shield = &Shield{Interfaces: r.ShieldInterfaces, Shares: r.ShieldShares, Mirror: r.ShieldMirror, listen: listenOf(c)}
	}
	return nil
}

// isInterfaceName reports whether Linux would accept a name for an interface.
func isInterfaceName(name string) bool {
	return name != "" && len(name) <= maxInterfaceName && name != "." && name != ".." &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r >= 0x7f })
}

// listenOf returns the addresses at which the server may use the shield; nil: at all
// of this host. It does not depend on ResolveListen, because the holder looks no name up.
func listenOf(c *Config) []netip.Addr {
	if len(c.listenNames) > 0 {
		return nil
	}
	var all []netip.Addr
	for _, a := range c.Listen {
		all = append(all, a.WithZone("")) // as in a request
	}
	return all
}

// shieldPolicy returns what the server may request of the shield; nil: nothing.
func (c *Config) shieldPolicy() *holder.ShieldPolicy {
	if c.Shield == nil {
		return nil
	}
	return &holder.ShieldPolicy{Interfaces: c.Shield.Interfaces, Listen: c.Shield.listen}
}

// ShieldDigest is Digest for a holder that has the shield and no firewall.
func (c *Config) ShieldDigest() holder.Digest {
	return holder.DigestOf(c.ShieldPolicy(), firewall.Config{})
}

// ShieldPolicy returns what the server may request of a holder that has the shield and
// no firewall.
func (c *Config) ShieldPolicy() holder.Policy { return holder.Policy{Shield: c.shieldPolicy()} }
