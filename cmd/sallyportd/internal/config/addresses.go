package config

import "net/netip"

// ReceivesOver reports whether the server receives knocks over the family of an
// address. The families of host names in "listen" are not known before ResolveListen.
func (c *Config) ReceivesOver(a netip.Addr) bool {
	four, six := c.Listen.Families()
	return len(c.listenNames) > 0 || a.Is4() && four || a.Is6() && six
}

// PublicAddresses returns the addresses in the configuration by which clients of other
// networks reach this host: those of public_address, and the public ones of listen.
func (c *Config) PublicAddresses() (all []netip.Addr) {
	if c.Challenge != nil {
		all = append(all, c.Challenge.Public4, c.Challenge.Public6)
	}
	for _, a := range c.Listen {
		if a.IsGlobalUnicast() && !a.IsPrivate() && !carrierNAT.Contains(a) {
			all = append(all, a)
		}
	}
	return all
}

// carrierNAT has the addresses between a provider's NAT and its customers (RFC 6598).
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")
