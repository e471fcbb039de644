package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"sallyport/sessions/gate/sockowner"
	"sallyport/sessions/socketpath"
)

// Accepts returns nil if a program of a user accepts connections at an upstream on
// this host. It makes no TCP connection, which the program would notice; at a Unix
// socket, it makes one and closes it. The error is a sockowner.ForeignError, if
// another user has the address.
func Accepts(ctx context.Context, to Upstream, uid uint32) error {
	path := to.Unix()
	if path == "" {
		return ownedAt(ctx, to, "tcp", func(at netip.AddrPort) error {
			owner, err := sockowner.Listener(at)
			return sockowner.Require(owner, uid, err)
		})
	}
	return socketpath.Use(path, func(short string) error {
		c, err := new(net.Dialer).DialContext(ctx, "unix", short)
		if err != nil {
			return err
		}
		defer c.Close()
		owner, _, err := sockowner.UnixPeer(c.(*net.UnixConn))
		return sockowner.Require(owner, uid, err)
	})
}

// Receives is Accepts for UDP.
func Receives(ctx context.Context, to Upstream, uid uint32) error {
	return ownedAt(ctx, to, "udp", func(at netip.AddrPort) error {
		// The source of a datagram matters only to a socket that is connected to it.
		owner, err := sockowner.Receiver(netip.AddrPortFrom(at.Addr(), 0), at)
		return sockowner.Require(owner, uid, err)
	})
}

// ownedAt calls check with the addresses of an upstream, until it returns nil, or
// until a foreign user has one: a connection may go there.
func ownedAt(ctx context.Context, to Upstream, network string, check func(netip.AddrPort) error) error {
	host, service, err := net.SplitHostPort(string(to))
	if err != nil {
		return err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return err
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	err = fmt.Errorf("%s has no address", host)
	for _, a := range all {
		var foreign *sockowner.ForeignError
		if err = check(netip.AddrPortFrom(a.Unmap(), uint16(port))); err == nil || errors.As(err, &foreign) {
			return err
		}
	}
	return err
}

// addrPort returns an address of a TCP or UDP connection; IPv4 is never mapped.
func addrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}
