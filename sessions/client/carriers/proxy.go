package carriers

import (
	"net/http"
	"net/url"
)

// SystemProxy returns the proxy for a URL; nil: none. It is that of the environment
// (HTTPS_PROXY, NO_PROXY).
func SystemProxy(u *url.URL) (*url.URL, error) {
	return http.ProxyFromEnvironment(&http.Request{URL: u})
}
