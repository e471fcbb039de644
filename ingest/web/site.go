package web

import (
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// NotFound is a site without pages: each request gets the 404 of a Caddy server with
// "respond 404", byte for byte over HTTP/1.1. Caddy and this server share the code below
// (net/http), with its other answers, such as those to a malformed request.
var NotFound http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	caddy(w.Header())
	w.WriteHeader(http.StatusNotFound)
})

// caddy sets the header fields that Caddy's answers without a body have.
func caddy(h http.Header) {
	h.Set("Server", "Caddy")
	h["Content-Type"] = nil // which net/http would guess
}

// Limits of a Proxy.
const (
	dialTime   = 10 * time.Second
	answerTime = time.Minute // for the header of an answer
	idleSites  = 64          // connections to the site that wait for a request
)

// Proxy returns a site that another web server has, at a URL without a path. Its answers
// pass unchanged, except for the fields that belong to a connection (RFC 9110, 7.6.1), and
// upgrades other than those to a WebSocket. The request has its own Host and query, and the
// client's address in X-Forwarded-For: appended to what a proxy in trusted wrote. From
// others, no header that states an address passes: see statesAddress. Without an answer of
// the site, the request gets Caddy's 502, and nothing is logged. There are at most so many connections to the site at a time: one of HTTP/2 with a
// client has up to maxStreams requests.
func Proxy(site *url.URL, trusted Proxies, connections int) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(site)
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also one that net/url cannot parse
			if !strings.EqualFold(r.Out.Header.Get("Upgrade"), "websocket") {
				// By another protocol, such as h2c, a client would talk to the site past this.
				r.Out.Header.Del("Upgrade")
				r.Out.Header.Del("Connection")
			}
			r.Out.Header.Del("Expect") // this server sends 100 Continue; the site's would be a second one
			r.Out.Host = r.In.Host
			if trusted.sent(r.In) {
				r.Out.Header[XForwardedFor] = r.In.Header[XForwardedFor]
			} else {
				maps.DeleteFunc(r.Out.Header, func(name string, _ []string) bool { return statesAddress(name) })
			}
			r.SetXForwarded()
			if trusted.sent(r.In) {
				for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", Forwarded} {
					if lines, ok := r.In.Header[name]; ok {
						r.Out.Header[name] = lines
					}
				}
			}
		},
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
			DisableCompression:    true, // the answer has the encoding that the client asked for
			MaxIdleConnsPerHost:   idleSites,
			MaxConnsPerHost:       connections,
			IdleConnTimeout:       idleTime,
			TLSHandshakeTimeout:   dialTime,
			ResponseHeaderTimeout: answerTime,
			ForceAttemptHTTP2:     true,
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			caddy(w.Header())
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}
