package legacy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/magiconair/properties"

	"sallyport/cmd/internal/hint"
)

const (
	// maxOpen is the maximum of open_for and open_max.
	maxOpen = 1000 * time.Hour
	// addUp is how many knocks add up. The first implementation added the timeout to
	// the timer without a limit (paper, Figure 5.6).
	addUp = 10
	// resolveTime is how long a host name may take to resolve.
	resolveTime = 10 * time.Second
)

// service returns the text of the [[service]] table.
func (im *importer) service(s *source, timeout int) (string, error) {
	if s == nil {
		im.warn("there is no service.properties: " +
			"the service is the embedded web server at 127.0.0.1:8080, the default of the first implementation")
		s = &source{path: filepath.Join(im.dir, "service.properties"), p: properties.NewProperties()}
	}
	bind, err := im.serviceBind(s)
	if err != nil {
		return "", err
	}
	port, err := s.servicePort()
	if err != nil {
		return "", err
	}
	embedded, err := s.boolean("use-embedded-webserver", "true")
	if err != nil {
		return "", err
	}
	kind, name := "type = \"web\"", "web"
	if embedded {
		for _, key := range []string{"proxy-address", "proxy-port"} {
			if s.text(key, "") != "" {
				im.warn("%s: %s is not used, because use-embedded-webserver is true", s.path, key)
			}
		}
	} else {
		upstream, err := s.upstream()
		if err != nil {
			return "", err
		}
		kind, name = fmt.Sprintf("type = \"proxy\"\nupstream = %q", upstream), "proxy"
	}
	im.warn("the first implementation opened for all addresses; " +
		"now the service opens only for the address that knocked, unless you set open_to = \"anyone\"")
	openFor := time.Duration(timeout) * time.Second
	return fmt.Sprintf(`[[service]]
name = %q
%s
listen = %q
open_for = "%ds"
# Each further sequence adds open_for, as in the first implementation, which had no
# limit. Here the rest of a lease never exceeds open_max.
open_max = "%ds"
# The first implementation opened for all addresses:
# open_to = "anyone"
`, name, kind, net.JoinHostPort(bind, strconv.Itoa(port)), timeout, int(min(addUp*openFor, maxOpen)/time.Second)), nil
}

// serviceBind returns the address of the service. A name is resolved now: what guards a
// service requires its address.
func (im *importer) serviceBind(s *source) (string, error) {
	host, err := s.host("service-bind", "127.0.0.1")
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", hint.With(fmt.Errorf("%s: service-bind: this host cannot resolve the host name %q: %w", s.path, host, hint.Cause(err)),
			"write an address of the server instead, or run the command on the server")
	}
	address := slices.MinFunc(found, func(a, b netip.Addr) int { return a.Unmap().Compare(b.Unmap()) }).Unmap() // IPv4 first
	im.warn("%s: service-bind: %s is replaced by its present address %s", s.path, host, address)
	return address.String(), nil
}

func (s *source) servicePort() (int, error) { return s.number("service-port", "8080", 1, 65535) }

// upstream returns the web server to which the proxy forwards.
func (s *source) upstream() (string, error) {
	var empty []string
	for _, key := range []string{"proxy-address", "proxy-port"} {
		if s.text(key, "") == "" {
			empty = append(empty, key)
		}
	}
	if len(empty) > 0 {
		return "", hint.With(fmt.Errorf("%s: with use-embedded-webserver=false, expected proxy-address and proxy-port, got no value of %s",
			s.path, strings.Join(empty, " and ")),
			"fill in the address and the port of the web server to which connections are forwarded, "+
				"such as proxy-address=127.0.0.1 and proxy-port=8081; or set use-embedded-webserver=true")
	}
	host, err := s.host("proxy-address", "")
	if err != nil {
		return "", err
	}
	port, err := s.number("proxy-port", "", 1, 65535)
	return net.JoinHostPort(host, strconv.Itoa(port)), err
}
