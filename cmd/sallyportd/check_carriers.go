package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
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
func checkCarriers(ctx context.Context, cfg *config.Config, resolver zoneResolver) (found []finding) {
	for i := range cfg.HTTP() {
		h := &cfg.HTTP()[i]
		file, chain := h.Certificate()
		if len(chain) > 0 {
			found = append(found, checkCarrierCertificate(h, file, chain[0])...)
		}
		found = append(found, checkCarrierProxy(h)...)
	}
	own := hostAddresses()
	found = append(found, checkReached(cfg, own)...)
	if d := cfg.DNS(); d != nil {
		own = append(own, cfg.PublicAddresses()...)
		found = append(found, checkZone(ctx, d.Zone.Name, d.Zone.Servers, own, resolver)...)
	}
	return found
}

// checkCarrierProxy warns about a listener that strangers, or the server before it, do not
// reach as its other keys expect.
func checkCarrierProxy(h *config.HTTP) (found []finding) {
	at, local := h.Address(), h.Address().IsLoopback()
	if h.Unproved != 0 && !local && !at.IsPrivate() {
		found = append(found, warn("unproved-exposed", "listen on the loopback; or, without a web server before this one, replace unproved by root or upstream",
			"[[challenge.http]] at %s answers strangers with the status %d, which shows that it is no site", h.Listen, h.Unproved))
	}
	switch {
	case len(h.Proxies.Trusted) > 0:
	case !h.TLS() && !local:
		found = append(found, warn("carrier-without-tls", "set tls_cert and tls_key; or listen on the loopback, behind a server that does TLS, with trusted_proxies",
			"exchanges over HTTP at %s are not encrypted: a network on the way can read the IDs of operations", h.Listen))
	case !h.TLS() || h.Unproved != 0:
		found = append(found, warn("carrier-proxy-not-trusted", "name the address of that server in trusted_proxies",
			"[[challenge.http]] at %s takes the address of the web server before it for the address of every client", h.Listen))
	}
	return found
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

// checkCarrierCertificate warns about a certificate that is not for the host.
func checkCarrierCertificate(h *config.HTTP, file string, x *x509.Certificate) []finding {
	if err := x.VerifyHostname(h.Host); err != nil {
		return []finding{warn("certificate-other-host", "get a certificate for this name, or correct host",
			"[[challenge.http]] at %s: the certificate in %s is not valid for host = %q", h.Listen, file, h.Host)}
	}
	return nil
}

// zoneResolver is the part of a net.Resolver with which the delegation of a zone is checked.
type zoneResolver interface {
	LookupNS(ctx context.Context, name string) ([]*net.NS, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// zoneTime is how long the resolver may take for a zone, in all.
const zoneTime = 3 * time.Second

// checkZone warns if the system's resolver does not find that a zone is delegated to its
// servers, or if none of them is this host.
func checkZone(ctx context.Context, zone string, servers []string, own []netip.Addr, resolver zoneResolver) []finding {
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
func checkZoneServers(ctx context.Context, zone string, servers []string, own []netip.Addr, resolver zoneResolver) []finding {
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
