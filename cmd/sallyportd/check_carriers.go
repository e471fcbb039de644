package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate"
)

// checkCarrierPorts tries to bind the sockets of exchanges over HTTP and DNS.
func checkCarrierPorts(cfg *config.Config) (found []finding) {
	for _, l := range cfg.CarrierListeners() {
		protocol := map[bool]string{false: "tcp", true: "udp"}[l.UDP]
		err := gate.Bindable(protocol, l.Listen)
		if err == nil {
			continue
		}
		todo := "until then the server retries, and no exchange arrives there"
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			todo = "stop the program that has the port, or choose another port; " + todo
		case errors.Is(err, syscall.EACCES):
			todo = "start \"sallyportd serve\" with CAP_NET_BIND_SERVICE, or set a lower net.ipv4.ip_unprivileged_port_start"
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			todo = "the server waits for the address"
		}
		found = append(found, warn("carrier-cannot-listen", todo, "%s cannot listen over %s: %v", l.Name(), strings.ToUpper(protocol), err))
	}
	return found
}

// checkCarriers warns about certificates, zones and addresses with which no exchange over
// HTTP or DNS would succeed.
func checkCarriers(ctx context.Context, cfg *config.Config, resolver carrierResolver, proc fs.FS) (found []finding) {
	own := hostAddresses()
	found = checkReached(cfg, own)
	own = append(own, cfg.PublicAddresses()...)
	// Side by side: a resolver may not answer.
	parts := make([][]finding, len(cfg.HTTP())+1)
	var all sync.WaitGroup
	for i := range cfg.HTTP() {
		all.Go(func() { parts[i] = checkSite(ctx, &cfg.HTTP()[i], own, resolver, proc) })
	}
	if d := cfg.DNS(); d != nil {
		all.Go(func() { parts[len(parts)-1] = checkZone(ctx, d.Zone.Name, d.Zone.Servers, own, resolver) })
	}
	all.Wait()
	return append(found, slices.Concat(parts...)...)
}

// checkReached warns if the server does not know by which address clients reach this
// host, which has the addresses own.
func checkReached(cfg *config.Config, own []netip.Addr) []finding {
	forAddress := func(o config.Operation) bool { return !o.RandomPort && !cfg.Service(o.Service).Proves }
	if len(cfg.HTTP()) == 0 || !slices.ContainsFunc(cfg.Operations, forAddress) {
		return nil
	}
	const code, todo = "carrier-address-unknown", "set public_address in [challenge]"
	v4, v6 := cfg.ReachedAt(own)
	has4, has6 := cfg.Listen.Families()
	several := func(is func(netip.Addr) bool) bool {
		return slices.ContainsFunc(own, func(a netip.Addr) bool { return is(a.Unmap()) && a.IsGlobalUnicast() })
	}
	switch {
	case !v4.IsValid() && !v6.IsValid():
		return []finding{warn(code, todo, "the address by which clients reach this host is not known, since it has several, or none: no exchange over HTTP opens a service for an address")}
	case has4 && !v4.IsValid() && several(netip.Addr.Is4):
		return []finding{warn(code, todo, "the IPv4 address by which clients reach this host is not known, since it has several: no exchange over HTTP opens a service for an IPv4 address")}
	case has6 && !v6.IsValid() && several(netip.Addr.Is6):
		return []finding{warn(code, todo, "the IPv6 address by which clients reach this host is not known, since it has several: no exchange over HTTP opens a service for an IPv6 address")}
	}
	return nil
}

// carrierResolver is the part of a net.Resolver with which names of carriers are checked.
type carrierResolver interface {
	LookupNS(ctx context.Context, name string) ([]*net.NS, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// zoneTime is how long the resolver may take for a zone, in all, or for a host.
const zoneTime = 3 * time.Second

// checkZone warns if the system's resolver does not find that a zone is delegated to its
// servers, or if none of them is this host.
func checkZone(ctx context.Context, zone string, servers []string, own []netip.Addr, resolver carrierResolver) []finding {
	ctx, cancel := context.WithTimeout(ctx, zoneTime)
	defer cancel()
	const code, delegate = "zone-not-delegated", "in the zone above, add an NS record for %s with the name of each server"
	list, err := resolver.LookupNS(ctx, zone+".")
	var missing *net.DNSError
	switch {
	case errors.As(err, &missing) && missing.IsNotFound, err == nil && len(list) == 0:
		return []finding{warn(code, fmt.Sprintf(delegate, zone), "the zone %s does not exist for the resolver of this host: queries for it do not reach this server", zone)}
	case err != nil:
		return []finding{warn("zone-unknown", "a zone answers only while the server runs: start it, and check again",
			"the resolver of this host does not find the servers of the zone %s: %v", zone, hint.Cause(err))}
	}
	var names []string
	for _, n := range list {
		names = append(names, strings.ToLower(strings.TrimSuffix(n.Host, ".")))
	}
	if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(servers, n) }) {
		return []finding{warn(code, fmt.Sprintf(delegate, zone), "the zone %s is delegated to %s, and not to %s", zone, strings.Join(names, ", "), strings.Join(servers, ", "))}
	}
	return checkZoneServers(ctx, zone, servers, own, resolver)
}

// checkZoneServers warns if none of the servers of a zone is this host.
func checkZoneServers(ctx context.Context, zone string, servers []string, own []netip.Addr, resolver carrierResolver) []finding {
	var at []string
	for _, s := range servers {
		addresses, err := resolver.LookupNetIP(ctx, "ip", s+".")
		if err != nil {
			at = append(at, s+" (not found)")
			continue
		}
		for _, a := range addresses {
			if slices.Contains(own, a.Unmap()) {
				return nil
			}
			at = append(at, fmt.Sprintf("%s (%s)", s, a.Unmap()))
		}
	}
	return []finding{warn("zone-elsewhere", "correct the addresses of the servers' names; or, if this host is behind a NAT, set public_address in [challenge]",
		"no server of the zone %s is at an address of this host: %s", zone, strings.Join(at, ", "))}
}

// hostAddresses returns the addresses of this host's interfaces.
func hostAddresses() (all []netip.Addr) {
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all
}
