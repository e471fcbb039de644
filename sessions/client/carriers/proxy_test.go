package carriers

import (
	"net/url"
	"testing"
)

// TestSystemSettings: the proxy of Windows and of macOS, and the hosts that they except.
func TestSystemSettings(t *testing.T) {
	t.Parallel()
	const mac = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 192.0.2.0/24
  }
  ExcludeSimpleHostnames : 1
  HTTPEnable : 1
  HTTPPort : 3128
  HTTPProxy : other.example
  HTTPSEnable : 1
  HTTPSPort : 8080
  HTTPSProxy : proxy.example
}
`
	for name, s := range map[string]proxySettings{
		"one server":   windowsSettings("proxy.example:8080", "*.local;192.0.2.*;<local>"),
		"by protocol":  windowsSettings("http=other.example:3128;https=proxy.example:8080", "*.Local; 192.0.2.0/24 ;<local>;"),
		"as a URL":     windowsSettings("http://proxy.example:8080", "*.local;192.0.2.*;<local>"),
		"macOS":        macSettings(mac),
		"no exception": {https: "proxy.example:8080", except: []string{"*.local", "192.0.2.0/24"}, local: true},
	} {
		for host, want := range map[string]bool{
			"www.example.org": true, "198.51.100.1": true, "a.local": false, "A.LOCAL": false, "192.0.2.7": false, "intranet": false, "127.0.0.1": false,
		} {
			u := &url.URL{Scheme: "https", Host: host}
			proxy := s.proxyFor(u)
			if (proxy != nil) != want || proxy != nil && proxy.String() != "http://proxy.example:8080" {
				t.Errorf("%s, %s: %v", name, host, proxy)
			}
		}
	}
	for name, s := range map[string]proxySettings{
		"none": {}, "other protocols": windowsSettings("http=other.example:3128;socks=other.example:1080", ""),
		"disabled": macSettings("<dictionary> {\n  HTTPSEnable : 0\n  HTTPSPort : 8080\n  HTTPSProxy : proxy.example\n}\n"), "no output": macSettings(""),
	} {
		if proxy := s.proxyFor(&url.URL{Scheme: "https", Host: "www.example.org"}); proxy != nil {
			t.Errorf("%s: %v", name, proxy)
		}
	}
}
