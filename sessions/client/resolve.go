package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Family restricts the addresses of a server to which knocks are sent.
type Family string

// The address families.
const (
	AnyFamily Family = ""
	IPv4      Family = "4"
	IPv6      Family = "6"
)

// target is an address to which knocks are sent, and the service that then opens.
type target struct {
	knock   netip.Addr
	service netip.AddrPort // invalid: the profile names none
	udp     bool           // the service is a UDP service
	rotates bool           // each minute draws the port of the service
}

// watched reports whether the client can watch the service.
func (t target) watched() bool { return t.service.IsValid() && !t.udp }

// ResolveError is the error of a host without an address of the required family.
type ResolveError struct {
	Host   string
	Family Family
	err    error
	knocks netip.Addr // of the server, if Host is that of the service; then Family is that of knocks
}

func (e *ResolveError) Error() string {
	kind := "address"
	if e.Family != AnyFamily {
		kind = "IPv" + string(e.Family) + " address"
	}
	switch {
	case errors.Is(e.err, errOtherFamily):
		return fmt.Sprintf("%s is not an %s", e.Host, kind)
	case e.Family != AnyFamily && e.notFound():
		return fmt.Sprintf("found no %s of %s", kind, e.Host)
	}
	return fmt.Sprintf("find an %s of %s: %v", kind, e.Host, e.err)
}

func (e *ResolveError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *ResolveError) Hint() string {
	const check = "check the name in the profile, and whether this computer is online and can resolve names"
	switch {
	case e.knocks.IsValid():
		return fmt.Sprintf("the knocks go to %s, and the service must have an address of the same family: try %s", e.knocks,
			map[Family]string{IPv4: "-6", IPv6: "-4"}[e.Family])
	case errors.Is(e.err, errOtherFamily):
		return "omit -" + string(e.Family)
	case e.Family != AnyFamily && e.notFound():
		return "omit -" + string(e.Family) + ", or check the name in the profile"
	}
	return check
}

// notFound reports whether the resolver answered that there is no such address.
func (e *ResolveError) notFound() bool {
	var address *net.AddrError // package net returns it for a name in /etc/hosts
	var dns *net.DNSError
	return errors.Is(e.err, errOtherFamily) || errors.As(e.err, &address) || errors.As(e.err, &dns) && dns.IsNotFound
}

var errOtherFamily = errors.New("it is an address of the other family")

// resolve returns the targets in the resolver's order of preference. If the service
// is on another host, it uses that host's first address of the same family.
func resolve(ctx context.Context, p Profile, family Family) ([]target, error) {
	addresses, err := lookup(ctx, p.Server, family)
	if err != nil {
		return nil, err
	}
	targets := make([]target, len(addresses))
	for i, a := range addresses {
		targets[i].knock = a
	}
	if p.Service == "" {
		return targets, nil
	}
	service, err := ParseService(p.Service)
	if err != nil {
		return nil, err
	}
	host, port := service.Host, service.Port
	for i, t := range targets {
		at := t.knock
		if host != "" && host != p.Server {
			same := IPv6
			if at.Is4() {
				same = IPv4
			}
			others, err := lookup(ctx, host, same)
			var none *ResolveError
			if errors.As(err, &none) && none.notFound() {
				none.knocks = at
			}
			if err != nil {
				return nil, err
			}
			at = others[0]
		}
		targets[i].udp, targets[i].rotates = service.UDP, service.Rotates
		targets[i].service = netip.AddrPortFrom(at, port)
	}
	return targets, nil
}

func lookup(ctx context.Context, host string, family Family) ([]netip.Addr, error) {
	// The resolver would drop the zone of an address.
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if family == IPv4 && !a.Is4() || family == IPv6 && a.Is4() {
			return nil, &ResolveError{Host: host, Family: family, err: errOtherFamily}
		}
		return []netip.Addr{a}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+string(family), host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: "the name has no address", Name: host, IsNotFound: true}
	}
	if err != nil {
		return nil, &ResolveError{Host: host, Family: family, err: err}
	}
	for i, a := range found {
		found[i] = a.Unmap()
	}
	return found, nil
}
