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
	service netip.AddrPort // invalid: no service to watch
}

// ResolveError is the error of a host without an address of the required family.
type ResolveError struct {
	Host   string
	Family Family
	err    error
}

func (e *ResolveError) Error() string {
	kind := "address"
	if e.Family != AnyFamily {
		kind = "IPv" + string(e.Family) + " address"
	}
	return fmt.Sprintf("find an %s of %s: %v", kind, e.Host, e.err)
}

func (e *ResolveError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *ResolveError) Hint() string {
	return "check the name in the profile, and whether this computer is online and can resolve names"
}

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
	host, port, err := SplitService(p.Service)
	if err != nil {
		return nil, err
	}
	for i, t := range targets {
		at := t.knock
		if host != "" && host != p.Server {
			same := IPv6
			if at.Is4() {
				same = IPv4
			}
			others, err := lookup(ctx, host, same)
			if err != nil {
				return nil, err
			}
			at = others[0]
		}
		targets[i].service = netip.AddrPortFrom(at, port)
	}
	return targets, nil
}

func lookup(ctx context.Context, host string, family Family) ([]netip.Addr, error) {
	// The resolver would drop the zone of an address.
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if family == IPv4 && !a.Is4() || family == IPv6 && a.Is4() {
			return nil, &ResolveError{host, family, errors.New("it is an address of the other family")}
		}
		return []netip.Addr{a}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+string(family), host)
	if err == nil && len(found) == 0 {
		err = errors.New("the name has none")
	}
	if err != nil {
		return nil, &ResolveError{host, family, err}
	}
	for i, a := range found {
		found[i] = a.Unmap()
	}
	return found, nil
}
