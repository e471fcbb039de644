package client

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
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
	named   bool           // the profile names the address, not only the resolver
}

// watched reports whether the client can watch the service.
func (t target) watched() bool { return t.service.IsValid() && !t.udp }

// named returns the addresses that a profile names, those of the two families in turn.
func named(server string, addresses []netip.Addr, family Family) (list []netip.Addr) {
	if a, err := netip.ParseAddr(server); err == nil {
		addresses = append([]netip.Addr{a}, addresses...)
	}
	var families [2][]netip.Addr
	for _, a := range addresses {
		a = a.Unmap()
		if of := &families[familyOf(a)]; fits(a, family) && !slices.Contains(*of, a) {
			*of = append(*of, a)
		}
	}
	for i := range addresses {
		for f := range families {
			// The family of the first one goes first.
			if of := families[(f+familyOf(addresses[0].Unmap()))%len(families)]; i < len(of) {
				list = append(list, of[i])
			}
		}
	}
	return list
}

func fits(a netip.Addr, family Family) bool {
	return family == AnyFamily || a.Is4() == (family == IPv4)
}

// resolve returns the targets that the profile names. If it names none, it asks the
// resolver, and without its answer it returns those that remembered returns.
func resolve(ctx context.Context, p Profile, family Family, remembered func() []netip.Addr) ([]target, error) {
	if list := named(p.Server, p.Addresses, family); len(list) > 0 {
		targets, err := targetsAt(ctx, p, list)
		for i := range targets {
			targets[i].named = true
		}
		return targets, err
	}
	list, err := lookup(ctx, p.Server, family)
	if err != nil {
		if list = known(remembered(), family); len(list) == 0 {
			return nil, err
		}
	}
	return targetsAt(ctx, p, list)
}

// known returns the addresses of a family.
func known(list []netip.Addr, family Family) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return !fits(a, family) })
}

// lookupLater returns a function that asks the resolver for more addresses of the server,
// without waiting for it; nil, if a resolver does not know more.
func lookupLater(p Profile, family Family, remembered func() []netip.Addr) func(context.Context) <-chan []target {
	if _, err := netip.ParseAddr(p.Server); err == nil || len(named(p.Server, p.Addresses, family)) == 0 {
		return nil
	}
	return func(ctx context.Context) <-chan []target {
		found := make(chan []target, 1)
		go func() {
			list, err := lookup(ctx, p.Server, family)
			if err != nil {
				list = known(remembered(), family)
			}
			targets, _ := targetsAt(ctx, p, list) // after an error, there are only those that the profile names
			found <- targets
		}()
		return found
	}
}

// targetsAt returns the targets at addresses of the server. If the service is on another
// host, it uses that host's first address of the same family, and leaves out the addresses
// of the server whose family that host does not have. It returns an error if none is left.
func targetsAt(ctx context.Context, p Profile, list []netip.Addr) (targets []target, err error) {
	var service Service
	if p.Service != "" {
		if service, err = ParseService(p.Service); err != nil {
			return nil, err
		}
	}
	elsewhere := elsewhere{host: service.Host}
	for _, knock := range list {
		t := target{knock: knock, udp: service.UDP, rotates: service.Rotates}
		at := knock
		if service.Host != "" && service.Host != p.Server {
			var none error
			if at, none = elsewhere.near(ctx, knock); none != nil {
				err = cmp.Or(err, none)
				continue
			}
		}
		if p.Service != "" {
			t.service = netip.AddrPortFrom(at, service.Port)
		}
		targets = append(targets, t)
	}
	if len(targets) > 0 {
		err = nil
	}
	return targets, err
}

// elsewhere is the host of a service that is not on the server, with what the resolver
// answered: it is asked once for each family.
type elsewhere struct {
	host  string
	found [2]netip.Addr
	err   [2]error
}

// near returns the first address of the host that has the family of knock.
func (e *elsewhere) near(ctx context.Context, knock netip.Addr) (netip.Addr, error) {
	family, n := IPv6, familyOf(knock)
	if knock.Is4() {
		family = IPv4
	}
	if !e.found[n].IsValid() && e.err[n] == nil {
		list, err := lookup(ctx, e.host, family)
		if none := (*ResolveError)(nil); errors.As(err, &none) {
			none.knocks = knock
		}
		if e.err[n] = err; err == nil {
			e.found[n] = list[0]
		}
	}
	return e.found[n], e.err[n]
}

func lookup(ctx context.Context, host string, family Family) ([]netip.Addr, error) {
	// The resolver would drop the zone of an address.
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if !fits(a, family) {
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
	return atMost(MaxAddresses, found), nil
}

// atMost returns the first n addresses of each family. A name server can give
// thousands, and each costs nonces, and gets a sequence.
func atMost(n int, found []netip.Addr) (list []netip.Addr) {
	var count [2]int
	for _, a := range found {
		a = a.Unmap()
		if of := &count[familyOf(a)]; *of < n {
			*of++
			list = append(list, a)
		}
	}
	return list
}
