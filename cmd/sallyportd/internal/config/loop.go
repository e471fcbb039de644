package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/gate/relay"
)

// checkLoops rejects upstreams that form a loop: each connection would open
// another one, until the server's limits are reached.
func checkLoops(f *tomlfile.File, services []Service) error {
	for i := range services {
		if before := proxyAt(services, services[i].kind.upstream()); before != nil && !services[i].UDP {
			return f.Errorf(fmt.Sprintf("service.%d.upstream", i), "got %q, the via_port of service %s, where only connections of its clients get in",
				services[i].kind.upstream(), before.Name)
		}
		loop := upstreamLoop(services, i, i, make([]bool, len(services)))
		if loop != nil {
			return f.Errorf(fmt.Sprintf("service.%d.upstream", i), "got %q, which forms a loop: %s -> %s",
				services[i].kind.upstream(), services[i].Name, strings.Join(loop, " -> "))
		}
	}
	return nil
}

// checkUpstreamSockets rejects upstreams that are sockets of the server, by their
// path: to these the server is its own user, whatever client it connects for. A
// connection under another name is refused when it is made (relay.TCP).
func checkUpstreamSockets(f *tomlfile.File, c *Config) error {
	for i := range c.Services {
		for key, path := range map[string]string{"admin_socket": c.AdminSocket, "firewall_socket": c.FirewallSocket} {
			if to := relay.Upstream(c.Services[i].kind.upstream()); to.Unix() != "" && to.Unix() == path {
				return f.Errorf(fmt.Sprintf("service.%d.upstream", i), "got %q, which is %s", string(to), key)
			}
		}
	}
	return nil
}

// upstreamLoop returns the names of the services from the upstream of services[at]
// to services[first], inclusive; nil if there is no such path. visited marks the
// services that the search has visited.
func upstreamLoop(services []Service, at, first int, visited []bool) []string {
	for i := range services {
		s := &services[i]
		if visited[i] || !services[at].connectsTo(s) {
			continue
		}
		if i == first {
			return []string{s.Name}
		}
		visited[i] = true
		if rest := upstreamLoop(services, i, first, visited); rest != nil {
			return append([]string{s.Name}, rest...)
		}
	}
	return nil
}

// connectsTo reports whether the upstream is an address and port on which another
// of our services listens. It uses the configuration only, and resolves no name.
func (s *Service) connectsTo(other *Service) bool {
	host, port, err := client.SplitService(s.kind.upstream())
	return err == nil && other.Binds() && s.UDP == other.UDP && port == other.Port() &&
		slices.ContainsFunc(upstreamAddresses(host), other.listensAt)
}

// proxyAt returns the service whose proxy before a program listens at an upstream; nil:
// there is none.
func proxyAt(services []Service, upstream string) *Service {
	host, port, err := client.SplitService(upstream)
	i := slices.IndexFunc(services, func(s Service) bool {
		return err == nil && s.Via() == port && s.Via() != 0 && slices.ContainsFunc(upstreamAddresses(host), s.listensAt)
	})
	if i < 0 {
		return nil
	}
	return &services[i]
}

// upstreamAddresses returns the addresses of an upstream's host. The only name
// with known addresses is localhost.
func upstreamAddresses(host string) []netip.Addr {
	ipv4, ipv6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	if strings.EqualFold(host, "localhost") {
		return []netip.Addr{ipv4, ipv6}
	}
	a, err := netip.ParseAddr(host)
	switch a = a.Unmap(); {
	case err != nil:
		return nil
	case a == netip.IPv4Unspecified(): // a connection to it goes to the loopback
		return []netip.Addr{ipv4}
	case a == netip.IPv6Unspecified():
		return []netip.Addr{ipv6}
	}
	return []netip.Addr{a}
}

// listensAt reports whether the service listens on an address. If it listens on
// all addresses of this host, only the loopback addresses are known.
func (s *Service) listensAt(a netip.Addr) bool {
	return (s.Host().IsValid() || a.IsLoopback()) && s.Addresses().Has(a)
}

// whyNotBindable returns what an address is that a socket cannot be bound to;
// empty: it is another one.
func whyNotBindable(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return "a link-local address without its interface, such as " + a.String() + "%eth0"
	}
	return ""
}
