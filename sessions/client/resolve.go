package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Family restricts which addresses of a server are knocked.
type Family string

// The families.
const (
	AnyFamily Family = ""
	IPv4      Family = "4"
	IPv6      Family = "6"
)

// target is an address to knock, and what to watch then.
type target struct {
	knock   netip.Addr
	service netip.AddrPort // invalid: nothing
}

// ResolveError says that a name has no address of the wanted family.
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

// Hint says what to do.
func (e *ResolveError) Hint() string {
	return "check the name in the profile, and that this computer is online and can resolve names"
}

// resolve finds the targets in the resolver's order of preference. A service
// on another host is watched at an address of the same family.
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
	// An address needs no resolver, which would also drop its zone.
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if family == IPv4 && !a.Is4() || family == IPv6 && a.Is4() {
			return nil, &ResolveError{Host: host, Family: family, err: errors.New("it is an address of the other family")}
		}
		return []netip.Addr{a}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+string(family), host)
	if err == nil && len(found) == 0 {
		err = errors.New("it has none")
	}
	if err != nil {
		return nil, &ResolveError{Host: host, Family: family, err: err}
	}
	for i, a := range found {
		found[i] = a.Unmap()
	}
	return found, nil
}
