package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// The headers in which proxies write the address of a client.
const (
	XForwardedFor = "X-Forwarded-For"
	Forwarded     = "Forwarded" // RFC 7239
)

// Proxies are the trusted proxies before an HTTP.
type Proxies struct {
	Trusted []netip.Prefix
	// Header is where they write the address of a client. Each of them must append to
	// it, or replace it: a proxy that passes on the client's own header lets the
	// client choose its address.
	Header string
	// Owns reports whether the other end of a connection is a socket of the proxies' user
	// on this host: other users of the host can connect from the same addresses. nil: every
	// connection from a trusted address is one of a proxy.
	Owns func(here, there netip.AddrPort) bool
}

func (p Proxies) validate() error {
	switch {
	case len(p.Trusted) == 0 && p.Header == "":
		return nil
	case len(p.Trusted) == 0:
		return errors.New("proxies: expected the addresses of trusted proxies, whose header is given")
	case p.Header != XForwardedFor && p.Header != Forwarded:
		return fmt.Errorf("header of the proxies: expected %s or %s, got %q", XForwardedFor, Forwarded, p.Header)
	}
	return nil
}

// client returns the address that a request came from: the peer of the connection, or
// the peer that the outermost trusted proxy had. It is the zero Addr if the proxies'
// header does not show it.
func (p Proxies) client(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	at := peer.Addr().Unmap().WithZone("")
	lines := r.Header.Values(p.Header)
	line := ""
	for trusted := p.sent(r); trusted; trusted = p.trusts(at) {
		// The elements from the last one to the first. A client controls those before
		// the ones of the proxies, quotes included, so they are not looked at.
		if line == "" {
			if len(lines) == 0 {
				return netip.Addr{}
			}
			line, lines = lines[len(lines)-1], lines[:len(lines)-1]
		}
		element := line
		if i := strings.LastIndexByte(line, ','); i >= 0 {
			line, element = line[:i], line[i+1:]
		} else {
			line = ""
		}
		element = strings.Trim(element, " \t")
		if p.Header == Forwarded {
			element = forwardedFor(element)
		}
		if at = parseNode(element); !at.IsValid() {
			return netip.Addr{}
		}
	}
	return at
}

// sent reports whether a trusted proxy has sent a request.
func (p Proxies) sent(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && p.trusts(peer.Addr().Unmap().WithZone("")) && (p.Owns == nil || p.owns(r, peer))
}

// sentBy reports whether a connection of a Server is one of a trusted proxy.
func (p Proxies) sentBy(c boundedConn) bool {
	there, err := netip.ParseAddrPort(c.RemoteAddr().String())
	here, ok := c.LocalAddr().(*net.TCPAddr)
	if err != nil || !ok || !p.trusts(there.Addr().Unmap().WithZone("")) {
		return false
	}
	return p.Owns == nil || c.owned.ask(func() bool { return p.Owns(unmapped(here.AddrPort()), unmapped(there)) })
}

// owns asks Owns, once for a connection of a Server.
func (p Proxies) owns(r *http.Request, peer netip.AddrPort) bool {
	ask := func() bool {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		here, ok := local.(*net.TCPAddr)
		return ok && p.Owns(unmapped(here.AddrPort()), unmapped(peer))
	}
	if c, ok := r.Context().Value(connectionKey{}).(boundedConn); ok {
		return c.owned.ask(ask)
	}
	return ask()
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// owned is whether Proxies.Owns holds for a connection.
type owned struct {
	once sync.Once
	is   bool
}

func (o *owned) ask(owns func() bool) bool {
	o.once.Do(func() { o.is = owns() })
	return o.is
}

func (p Proxies) trusts(a netip.Addr) bool {
	for _, t := range p.Trusted {
		if t.Contains(a) {
			return true
		}
	}
	return false
}

// forwardedFor returns the value of the parameter "for" of an element; "": none.
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if strings.EqualFold(name, "for") {
			if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			return value
		}
	}
	return ""
}

// parseNode parses an address, with or without a port, an IPv6 address with or without
// brackets. It returns the zero Addr for anything else.
func parseNode(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		if len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' {
			s += ":0"
		}
		var at netip.AddrPort
		if at, err = netip.ParseAddrPort(s); err != nil {
			return netip.Addr{}
		}
		a = at.Addr()
	}
	return a.Unmap().WithZone("")
}
