package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/user"
	"strconv"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/page"
	carriers "sallyport/ingest/web"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/sockowner"
)

// Site is what a [[challenge.http]] shows to strangers.
type Site struct {
	Handler     http.Handler     // nil: the web server before this one has the site
	Certificate *tls.Certificate // nil: without TLS
}

// Site reads the files that the table names.
func (h *HTTP) Site() (s Site, err error) {
	switch {
	case h.Unproved != 0:
	case h.root != "":
		s.Handler, err = gate.Directory(h.root)
	case h.upstream != "":
		u, _ := url.Parse(h.upstream) // it was checked
		var trusted carriers.Proxies
		if trusted, err = h.Trusted(); err != nil {
			return s, err
		}
		s.Handler = carriers.Proxy(u, trusted, h.Connections)
	default:
		s.Handler = carriers.NotFound
	}
	if err == nil && h.Pages != "" {
		var pages *page.Pages
		if pages, err = page.Load(h.Pages, h.files); err == nil {
			s.Handler = pages.Handler(s.Handler)
		}
	}
	if err == nil && h.TLS() {
		s.Certificate, err = gate.Certificate(h.cert, h.key)
	}
	if err != nil {
		return s, unreadable(fmt.Errorf("[[challenge.http]] at %s: %w", h.Listen, err))
	}
	return s, nil
}

// Trusted returns the proxies that the listener trusts.
func (h *HTTP) Trusted() (carriers.Proxies, error) {
	p := h.Proxies
	if h.ProxyUser == "" {
		return p, nil
	}
	id := h.ProxyUser
	if u, err := user.Lookup(id); err == nil {
		id = u.Uid
	}
	uid, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return p, hint.With(fmt.Errorf("[[challenge.http]] at %s: proxy_user: no user of this host is %q", h.Listen, h.ProxyUser),
			"name the user that the workers of the proxy run as, such as www-data or caddy")
	}
	p.Owns = func(here, there netip.AddrPort) bool {
		owner, err := sockowner.Accepted(here, there) // the end at there, of whichever direction
		return sockowner.Require(owner, uint32(uid), err) == nil
	}
	return p, nil
}

// Certificate returns the chain of the listener, and its file; nil: it has none, or it
// cannot be read.
func (h *HTTP) Certificate() (file string, chain []*x509.Certificate) {
	return web{cert: h.cert, key: h.key}.certificate()
}

// URL returns the URL at which clients reach the listener; empty: it has neither TLS nor a
// trusted proxy, which does TLS at port 443.
func (h *HTTP) URL() string {
	switch {
	case !h.TLS() && len(h.Proxies.Trusted) == 0:
		return ""
	case h.TLS() && h.Port() != 443:
		return "https://" + net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port())))
	}
	return "https://" + urlHost(h.Host)
}

// Describe describes the listener in a line.
func (h *HTTP) Describe() string {
	site := "Caddy's 404"
	switch {
	case h.Unproved != 0:
		site = fmt.Sprintf("status %d, for the web server before this one", h.Unproved)
	case h.root != "":
		site = "the directory " + h.root
	case h.upstream != "":
		site = "the site at " + h.upstream
	}
	scheme := "HTTP"
	if h.TLS() {
		scheme = "HTTPS"
	}
	if h.Pages != "" {
		site += "; it also serves the pages in " + h.Pages
	}
	if h.Tunnel {
		site += "; after an exchange, it takes connections to services (tunnel)"
	}
	return fmt.Sprintf("%s for %s, at %s; strangers get %s", scheme, h.Host, h.Listen, site)
}

// Describe describes the listener in a line.
func (d *DNS) Describe() string {
	return fmt.Sprintf("DNS for the zone %s, at %s, over UDP and TCP", d.Zone.Name, d.Listen)
}

// ReachedAt returns the addresses at which clients reach this host, which exchanges for
// an address contain: public_address, or the only address of listen, of server, or of the
// host, of its family. A zero address is not known. The host's are those of its
// interfaces.
func (c *Config) ReachedAt(host []netip.Addr) (v4, v6 netip.Addr) {
	server, _ := netip.ParseAddr(c.Server)
	for _, list := range [][]netip.Addr{{c.Challenge.Public4, c.Challenge.Public6}, c.Listen, {server}, host} {
		four, six := c.Listen.Families()
		if a := only(list, netip.Addr.Is4); !v4.IsValid() && four {
			v4 = a
		}
		if a := only(list, func(a netip.Addr) bool { return a.Is6() }); !v6.IsValid() && six {
			v6 = a
		}
	}
	return v4, v6
}

// only returns the only address of a family in a list that other hosts can reach, or else
// its only loopback address; zero: there are none or several.
func only(list []netip.Addr, family func(netip.Addr) bool) (one netip.Addr) {
	for _, loopback := range []bool{false, true} {
		n := 0
		for _, a := range list {
			if a = a.Unmap(); family(a) && a.IsLoopback() == loopback && !a.IsUnspecified() && !a.IsLinkLocalUnicast() {
				one = a.WithZone("")
				n++
			}
		}
		if n > 0 {
			if n > 1 {
				one = netip.Addr{}
			}
			return one
		}
	}
	return one
}
