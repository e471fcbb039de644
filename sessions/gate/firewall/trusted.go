package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxTrusted is the number of peers that a service may trust: a stranger's packet
// to the service is compared with each.
const MaxTrusted = 32

// The shortest networks that a service may trust. A shorter one has strangers.
const (
	minTrusted4 = 8
	minTrusted6 = 7 // fc00::/7
)

// Trusted are the peers that reach a service without a grant, at any time.
type Trusted struct {
	Networks   []netip.Prefix // of source addresses
	Interfaces []string       // on which packets arrive
}

// ParseTrusted parses addresses, networks and names of interfaces.
func ParseTrusted(list []string) (t Trusted, err error) {
	for _, text := range list {
		if err := t.add(text); err != nil {
			return Trusted{}, err
		}
	}
	return t, t.Validate()
}

func (t *Trusted) add(text string) error {
	a, notAddress := netip.ParseAddr(text)
	n, notNetwork := netip.ParsePrefix(text)
	switch a = a.Unmap(); {
	case notAddress == nil && a.Zone() != "":
		return fmt.Errorf("got %q: name the interface instead of an address on it", text)
	case notAddress == nil:
		n = netip.PrefixFrom(a, a.BitLen())
	case notNetwork == nil:
	case strings.Contains(text, "/"):
		return fmt.Errorf("got %q, which is not a network", text)
	case looksLikeAddress(text):
		return fmt.Errorf("got %q, which is not an address", text)
	case slices.Contains(t.Interfaces, text):
		return fmt.Errorf("got %q twice", text)
	default:
		t.Interfaces = append(t.Interfaces, text)
		return nil
	}
	if slices.Contains(t.Networks, n) {
		return fmt.Errorf("got %q twice", text)
	}
	t.Networks = append(t.Networks, n)
	return nil
}

// looksLikeAddress reports whether a text, which is no address, is not meant as the
// name of an interface.
func looksLikeAddress(text string) bool {
	return strings.Contains(text, ":") || text != "" && strings.Trim(text, "0123456789.") == ""
}

// Validate returns an error if the peers are invalid, or include strangers.
func (t Trusted) Validate() error {
	if n := len(t.Networks) + len(t.Interfaces); n > MaxTrusted {
		return fmt.Errorf("got %d entries; at most %d are possible", n, MaxTrusted)
	}
	for _, n := range t.Networks {
		a, shortest := n.Addr(), minTrusted4
		if a.Is6() {
			shortest = minTrusted6
		}
		switch {
		case !n.IsValid() || a.Is4In6():
			return fmt.Errorf("got %q, which is not a network of IPv4 or IPv6", n)
		case n != n.Masked():
			return fmt.Errorf("got %q, which has bits after its first %d: the network is %q", n, n.Bits(), n.Masked())
		case n.Bits() < shortest:
			return fmt.Errorf("got %q, which lets strangers in: a network of IPv4 has at least %d bits, one of IPv6 %d", n, minTrusted4, minTrusted6)
		case a.IsMulticast() || a.IsUnspecified():
			return fmt.Errorf("got %q, from which no packet comes", n)
		}
	}
	for _, name := range t.Interfaces {
		if err := validInterface(name); err != nil {
			return err
		}
	}
	return nil
}

// validInterface rejects a name that the kernel does not accept, or that nft reads
// as a pattern.
func validInterface(name string) error {
	const longest = 15 // IFNAMSIZ, without the zero byte
	other := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+@", r))
	})
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("got an empty entry")
	case len(name) > longest:
		return fmt.Errorf("got %q: the name of an interface has at most %d bytes", name, longest)
	case other >= 0:
		return fmt.Errorf("got %q, which is not the name of an interface: it has %q", name, name[other])
	}
	return nil
}

// Equal reports whether both are the same peers, in the same order.
func (t Trusted) Equal(other Trusted) bool {
	return slices.Equal(t.Networks, other.Networks) && slices.Equal(t.Interfaces, other.Interfaces)
}

// String lists the peers; empty: there are none.
func (t Trusted) String() string { return strings.Join(t.Texts(), ", ") }

// Texts returns the peers as ParseTrusted parses them.
func (t Trusted) Texts() (all []string) {
	for _, n := range t.Networks {
		if n.IsSingleIP() {
			all = append(all, n.Addr().String())
		} else {
			all = append(all, n.String())
		}
	}
	return append(all, t.Interfaces...)
}

// lets reports whether a connection may be of a trusted peer, by the address of the
// client, and by whether the connection has the label of one: a connection has no
// interface.
func (t Trusted) lets(source netip.Addr, labelled bool) bool {
	return labelled && len(t.Interfaces) > 0 ||
		slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(source) })
}
