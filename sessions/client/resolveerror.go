package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

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
	switch {
	case e.knocks.IsValid() && e.notFound():
		return fmt.Sprintf("the knocks go to %s, and the service must have an address of the same family", e.knocks)
	case e.knocks.IsValid():
		return "check the name of the service's host, and whether this computer is online and can resolve names"
	case errors.Is(e.err, errOtherFamily):
		return "omit -" + string(e.Family)
	case e.Family != AnyFamily && e.notFound():
		return "omit -" + string(e.Family) + ", or check the name in the profile"
	}
	return "check the name in the profile, and whether this computer is online and can resolve names"
}

// notFound reports whether the resolver answered that there is no such address.
func (e *ResolveError) notFound() bool {
	var address *net.AddrError // package net returns it for a name in /etc/hosts
	var dns *net.DNSError
	return errors.Is(e.err, errOtherFamily) || errors.As(e.err, &address) || errors.As(e.err, &dns) && dns.IsNotFound
}

var errOtherFamily = errors.New("it is an address of the other family")
