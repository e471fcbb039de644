package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
)

// refuseLoops refuses upstreams that lead back to their own service: each
// connection would open the next one, until there is no more room for them.
func refuseLoops(f *tomlfile.File, services []Service) error {
	for i := range services {
		if way := loop(services, i, i, make([]bool, len(services))); way != nil {
			return f.Errorf(fmt.Sprintf("service.%d.upstream", i), "got %q, which leads back: to service %s", services[i].kind.upstream(), strings.Join(way, ", then to service "))
		}
	}
	return nil
}

// loop returns by which services the upstream of one leads to the first, that
// one included; none: it does not.
func loop(services []Service, at, first int, seen []bool) []string {
	for i := range services {
		s := &services[i]
		if seen[i] || !services[at].leadsTo(s) {
			continue
		}
		if i == first {
			return []string{s.Name}
		}
		seen[i] = true
		if way := loop(services, i, first, seen); way != nil {
			return append([]string{s.Name}, way...)
		}
	}
	return nil
}

// leadsTo reports whether the upstream is where another of our services
// listens, as far as the file tells.
func (s *Service) leadsTo(other *Service) bool {
	host, port, err := client.SplitService(s.kind.upstream())
	return err == nil && other.Binds() && s.UDP == other.UDP && port == other.Port() &&
		slices.ContainsFunc(upstreamAddresses(host), other.listensAt)
}

// upstreamAddresses are those that an upstream's host stands for. Of names only
// one is known without asking.
func upstreamAddresses(host string) []netip.Addr {
	ipv4, ipv6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	if strings.EqualFold(host, "localhost") {
		return []netip.Addr{ipv4, ipv6}
	}
	a, err := netip.ParseAddr(host)
	switch a = a.Unmap(); {
	case err != nil:
		return nil
	case a == netip.IPv4Unspecified(): // to connect there is to connect to oneself
		return []netip.Addr{ipv4}
	case a == netip.IPv6Unspecified():
		return []netip.Addr{ipv6}
	}
	return []netip.Addr{a}
}

// listensAt reports whether the service listens at an address; if it does at
// all of this host's, only the loopback's are known to be among them.
func (s *Service) listensAt(a netip.Addr) bool {
	return (s.Host().IsValid() || a.IsLoopback()) && s.Addresses().Has(a)
}

// unlistenable says why no host has an address for itself; empty: one may.
func unlistenable(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.IsMulticast():
		return "is a group's"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is everybody's"
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return "needs its interface behind it, such as " + a.String() + "%eth0"
	}
	return ""
}
