package carriers

import (
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
)

// SystemProxy returns the proxy for a URL; nil: none. If the environment names one
// (HTTPS_PROXY, NO_PROXY), it decides; otherwise the settings of Windows and macOS do.
// Scripts that choose a proxy (PAC) are not read.
func SystemProxy(u *url.URL) (*url.URL, error) {
	if os.Getenv("HTTPS_PROXY") != "" || os.Getenv("https_proxy") != "" {
		return http.ProxyFromEnvironment(&http.Request{URL: u})
	}
	return systemSettings().proxyFor(u), nil
}

// proxySettings are what a system has for all programs.
type proxySettings struct {
	https  string   // host:port; empty: none
	except []string // patterns of hosts that are reached without it, with * for any text
	local  bool     // and names without a dot
}

// proxyFor returns the proxy for a URL; nil: none.
func (s proxySettings) proxyFor(u *url.URL) *url.URL {
	host := strings.ToLower(u.Hostname())
	if s.https == "" || u.Scheme != "https" || isLoopback(host) || s.local && !strings.Contains(host, ".") {
		return nil
	}
	if slices.ContainsFunc(s.except, func(pattern string) bool { return matches(strings.ToLower(pattern), host) }) {
		return nil
	}
	proxy, err := url.Parse("http://" + s.https)
	if err != nil || proxy.Host == "" {
		return nil
	}
	return proxy
}

// matches reports whether a host fits a pattern, which may be a prefix of addresses.
func matches(pattern, host string) bool {
	if p, err := netip.ParsePrefix(pattern); err == nil {
		a, err := netip.ParseAddr(host)
		return err == nil && p.Contains(a)
	}
	ok, err := path.Match(pattern, host)
	return err == nil && ok
}

// windowsSettings reads the values of Windows: "host:port", or "http=host:port;https=…",
// and patterns with a semicolon between them.
func windowsSettings(server, override string) (s proxySettings) {
	s.https = server
	if strings.Contains(server, "=") {
		s.https = ""
		for entry := range strings.SplitSeq(server, ";") {
			if protocol, at, _ := strings.Cut(entry, "="); strings.TrimSpace(protocol) == "https" {
				s.https = at
			}
		}
	}
	s.https = strings.TrimSpace(strings.TrimPrefix(s.https, "http://"))
	for pattern := range strings.SplitSeq(override, ";") {
		if pattern = strings.TrimSpace(pattern); pattern == "<local>" {
			s.local = true
		} else if pattern != "" {
			s.except = append(s.except, pattern)
		}
	}
	return s
}

// macSettings reads the output of "scutil --proxy".
func macSettings(text string) (s proxySettings) {
	values := map[string]string{}
	list := false
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " : ")
		switch {
		case key == "}":
			list = false
		case !ok:
		case key == "ExceptionsList":
			list = true
		case list:
			s.except = append(s.except, value)
		default:
			values[key] = value
		}
	}
	s.local = values["ExcludeSimpleHostnames"] == "1"
	if values["HTTPSEnable"] == "1" && values["HTTPSProxy"] != "" {
		s.https = values["HTTPSProxy"]
		if port := values["HTTPSPort"]; port != "" {
			s.https += ":" + port
		}
	}
	return s
}
