package carriers

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"

	"sallyport/verify/challenge/carrier"
)

// endpoint is an address of the server, or a proxy, with separate connections, so that
// an answer in the server's place at one address is not that of the others.
type endpoint struct {
	client    *http.Client
	transport *http.Transport
	dead      atomic.Pointer[Fault] // why there was no connection; nil: there may be one
}

// endpoints returns those of the server, the known addresses first.
func (h *HTTP) endpoints() (all []*endpoint) {
	dialer := net.Dialer{Timeout: connectTime}
	if h.proxy != nil {
		return []*endpoint{h.endpoint(dialer.DialContext)}
	}
	network := "tcp"
	if h.cfg.Network != "" {
		network = h.cfg.Network
	}
	for _, a := range h.cfg.Addresses {
		if network == "tcp4" && !a.Is4() || network == "tcp6" && !a.Is6() || a.String() == h.url.Hostname() {
			continue
		}
		all = append(all, h.endpoint(func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		}))
	}
	first := &family{}
	all = append(all, h.endpoint(func(ctx context.Context, _, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		first.record(c)
		return c, err
	}))
	if _, err := netip.ParseAddr(h.url.Hostname()); err == nil || network != "tcp" || len(all) > 1 {
		return all
	}
	return append(all, h.endpoint(func(ctx context.Context, _, address string) (net.Conn, error) {
		other := first.other()
		if other == "" {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errNoOther}
		}
		return dialer.DialContext(ctx, other, address)
	}))
}

var errNoOther = errors.New("the name has no address of the other family")

// family is that of the address of a name to which a connection was made. The host at the
// other family's address may be another one: often a network intercepts one family only.
type family struct{ network atomic.Pointer[string] }

func (f *family) record(c net.Conn) {
	if c == nil {
		return
	}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		network := "tcp6"
		if a.AddrPort().Addr().Unmap().Is4() {
			network = "tcp4"
		}
		f.network.Store(&network)
	}
}

// other returns the network of the other family; empty: there was no connection.
func (f *family) other() string {
	switch n := f.network.Load(); {
	case n == nil:
		return ""
	case *n == "tcp4":
		return "tcp6"
	}
	return "tcp4"
}

// endpoint makes an endpoint.
func (h *HTTP) endpoint(dial dialFunc) *endpoint {
	e := &endpoint{}
	e.transport = &http.Transport{
		Proxy:                  http.ProxyURL(h.proxy),
		DialContext:            h.sockets.dial(dial),
		TLSClientConfig:        &tls.Config{RootCAs: h.cfg.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    1,
		OnProxyConnectResponse: h.connected,
	}
	e.client = &http.Client{
		Transport: e.transport,
		// A challenge comes from the URL itself.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e
}

// form makes the HTTP request of a message.
type form func(context.Context, *carrier.Message) (*http.Request, error)

// messageWay is a form of messages at an endpoint.
type messageWay struct {
	*endpoint
	form form
}

// messageWays returns the ways of messages, in their order: POST requests are shorter, but
// some sites and proxies take none.
func (h *HTTP) messageWays() (all []messageWay) {
	endpoints := h.endpoints()
	for _, f := range []form{h.post, h.get} {
		for _, e := range endpoints {
			all = append(all, messageWay{e, f})
		}
	}
	return all
}
