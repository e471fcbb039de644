package carriers

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	connectTime = 5 * time.Second // for one address
	// Agent is a User-Agent that filters of a network let pass.
	Agent = "Mozilla/5.0"
)

// HTTPConfig configures an HTTP. URL is required.
type HTTPConfig struct {
	URL string // as ParseURL reads it
	// Network is "tcp4" or "tcp6", if the server must see an address of that family;
	// empty: any. It has no meaning behind a proxy.
	Network string
	// Addresses are those of the URL's host, if the caller knows them; without them, the
	// resolver gives them.
	Addresses []netip.Addr
	Roots     *x509.CertPool                   // nil: those of the system
	Proxy     func(*url.URL) (*url.URL, error) // nil: SystemProxy
	// Pause is as in DNSConfig.
	Pause time.Duration
}

// HTTP carries messages by HTTP. Close it.
type HTTP struct {
	url    *url.URL
	cfg    HTTPConfig
	proxy  *url.URL     // nil: none
	ways   []messageWay // at least one
	worked atomic.Int32 // the way of the last challenge

	sockets sockets
}

// ParseURL parses the URL of a server. Without TLS, anyone on the way could read the
// requests, so http:// is only for this computer.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, "@"): // the error does not repeat a password
		return nil, errors.New("expected a URL of a host, a port and a path at most, got one with an @, as for a user")
	case err != nil:
		return nil, fmt.Errorf("expected a URL such as https://www.example.org, got %q", s)
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.ForceQuery:
		return nil, fmt.Errorf("expected a URL of a host, a port and a path at most, got %q", s)
	case !isHost(u.Hostname()):
		return nil, fmt.Errorf("expected the host's name in ASCII, or its address, got %q", s)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("expected https://, since http:// is for an address of this computer only, got %q", s)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("expected https://, got %q", s)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// errProxy does not repeat the setting, which may have a password.
var errProxy = errors.New("the setting of the proxy (HTTPS_PROXY) is not a URL")

func isHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || len(host) <= maxName && isName(strings.ToLower(strings.TrimSuffix(host, ".")))
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Host returns the name of a URL's host as carrier.ServerOf requires it.
func Host(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") }

// NewHTTP makes an HTTP. It sends nothing.
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	u, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Proxy == nil {
		cfg.Proxy = SystemProxy
	}
	cfg.Pause = cmp.Or(cfg.Pause, wayPause)
	h := &HTTP{url: u, cfg: cfg}
	if h.proxy, err = cfg.Proxy(u); err != nil {
		return nil, errProxy
	}
	h.ways = h.messageWays()
	return h, nil
}

// Proxied reports whether a proxy carries the requests, so that the server sees its
// address.
func (h *HTTP) Proxied() bool { return h.proxy != nil }

// URL returns the URL. The caller must not change it.
func (h *HTTP) URL() *url.URL { return h.url }

// Client returns a client for further requests to the server: by the same proxy, with the
// same certificates, over the connection of the last challenge.
func (h *HTTP) Client() *http.Client { return h.ways[h.worked.Load()].client }

// Close closes the connections, also those of Client. No request is possible afterwards.
func (h *HTTP) Close() {
	for _, w := range h.ways {
		w.transport.CloseIdleConnections() // in order, as far as they are idle
	}
	h.sockets.close()
}

// connected takes the answer of a proxy to CONNECT.
func (h *HTTP) connected(_ context.Context, proxy *url.URL, _ *http.Request, r *http.Response) error {
	switch {
	case r.StatusCode == http.StatusOK:
		return nil
	case r.StatusCode == http.StatusProxyAuthRequired:
		return &Fault{Cause: ProxyLogin, By: proxy.Host, Status: r.StatusCode}
	case isGateway(r.StatusCode):
		return &Fault{Cause: Gateway, By: proxy.Host, Status: r.StatusCode}
	}
	return &Fault{Cause: ProxyRefuses, By: proxy.Host, Status: r.StatusCode}
}
