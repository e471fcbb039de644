package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
)

// checkSite warns about a listener for exchanges over HTTP whose keys name something that
// does not exist, or is not what the listener needs. This host has the addresses own.
func checkSite(ctx context.Context, h *config.HTTP, own []netip.Addr, resolver carrierResolver, proc fs.FS) (found []finding) {
	if file, chain := h.Certificate(); len(chain) > 0 {
		found = append(found, checkCarrierCertificate(h, file, chain[0])...)
	}
	found = append(found, checkCarrierProxy(h)...)
	found = append(found, checkCarrierHost(ctx, h, own, resolver)...)
	found = append(found, checkSiteUpstream(ctx, h, resolver, proc)...)
	if h.PagesListed() != nil {
		found = append(found, warn("pages-listed", fmt.Sprintf("chmod 700 %s", quoted(h.Pages)),
			"[[challenge.http]] at %s: other users can list the directory %s, whose names are the paths of the pages", h.Listen, h.Pages))
	}
	return found
}

// checkCarrierCertificate warns about a certificate that is not for the host.
func checkCarrierCertificate(h *config.HTTP, file string, x *x509.Certificate) []finding {
	if err := x.VerifyHostname(h.Host); err != nil {
		return []finding{warn("certificate-other-host", "get a certificate for this name, or correct host",
			"[[challenge.http]] at %s: the certificate in %s is not valid for host = %q", h.Listen, file, h.Host)}
	}
	return nil
}

// checkCarrierHost warns about a host that clients do not find, or not here.
func checkCarrierHost(ctx context.Context, h *config.HTTP, own []netip.Addr, resolver carrierResolver) []finding {
	if _, err := netip.ParseAddr(h.Host); err == nil || h.Host == "localhost" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, zoneTime)
	defer cancel()
	all, err := resolver.LookupNetIP(ctx, "ip", h.Host+".")
	if err != nil {
		return []finding{warn("carrier-host-unresolved", "correct host, or add its addresses to the DNS",
			"[[challenge.http]] at %s: cannot resolve host = %q, the name by which clients reach it: %v", h.Listen, h.Host, hint.Cause(err))}
	}
	// Before a proxy, the name may be that of another host.
	if len(h.Proxies.Trusted) > 0 || slices.ContainsFunc(all, func(a netip.Addr) bool { return slices.Contains(own, a.Unmap()) }) {
		return nil
	}
	var texts []string
	for _, a := range all {
		texts = append(texts, a.Unmap().String())
	}
	return []finding{warn("carrier-host-elsewhere", "correct the addresses of the name; or, if this host is behind a NAT, set public_address in [challenge]",
		"[[challenge.http]] at %s: host = %q is at no address of this host: %s", h.Listen, h.Host, strings.Join(texts, ", "))}
}

// checkSiteUpstream warns about a site whose web server has no address, and advises about
// one on this host that does not listen. It connects to none.
func checkSiteUpstream(ctx context.Context, h *config.HTTP, resolver carrierResolver, proc fs.FS) []finding {
	host, port := h.SiteAt()
	if host == "" {
		return nil
	}
	addresses, err := addressesOf(ctx, host, resolver)
	if err != nil {
		return []finding{warn("upstream-unresolved", "correct the name, or name the upstream by its address; until then strangers get status 502",
			"[[challenge.http]] at %s: cannot resolve the upstream %q: %v", h.Listen, host, hint.Cause(err))}
	}
	number, _ := strconv.ParseUint(port, 10, 16)
	for _, a := range addresses {
		if !a.IsLoopback() || listens(proc, "tcp", uint16(number), a) {
			return nil
		}
	}
	return []finding{{advice, "no-listener",
		fmt.Sprintf("[[challenge.http]] at %s: no program on this host listens at its upstream, port %s of %s: strangers get status 502", h.Listen, port, host), "start that program"}}
}

// addressesOf returns the addresses of a host, by a resolver.
func addressesOf(ctx context.Context, host string, resolver carrierResolver) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, zoneTime)
	defer cancel()
	all, err := resolver.LookupNetIP(ctx, "ip", host)
	for i := range all {
		all[i] = all[i].Unmap()
	}
	return all, err
}

// checkCarrierProxy warns about a listener that strangers, or the server before it, do not
// reach as its other keys expect.
func checkCarrierProxy(h *config.HTTP) (found []finding) {
	at, local := h.Address(), h.Address().IsLoopback()
	if h.Unproved != 0 && !local && !at.IsPrivate() {
		found = append(found, warn("unproved-exposed", "listen on the loopback; or, without a web server before this one, replace unproved by root or upstream",
			"[[challenge.http]] at %s answers strangers with the status %d, which shows that it is no site", h.Listen, h.Unproved))
	}
	if i := slices.IndexFunc(h.Proxies.Trusted, func(p netip.Prefix) bool { return p.Bits() == 0 }); i >= 0 {
		found = append(found, warn("proxies-trust-all", "name the addresses of the proxies only",
			"[[challenge.http]] at %s trusts %s, so each client can choose the address that the server sees", h.Listen, h.Proxies.Trusted[i]))
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
