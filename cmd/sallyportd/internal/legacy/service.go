package legacy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
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
	kind, keys := "web", ""
	if embedded {
		if len(im.program.Args) > 0 {
			return "", hint.With(fmt.Errorf("%s: expected use-embedded-webserver=false with a PROGRAM, got true", s.path),
				"set use-embedded-webserver=false, and proxy-port to the port at which the program listens; or leave PROGRAM out")
		}
		for _, key := range []string{"proxy-address", "proxy-port"} {
			if s.text(key, "") != "" {
				im.warn("%s: %s is not used, because use-embedded-webserver is true", s.path, key)
			}
		}
	} else {
		if kind, keys, err = im.external(s); err != nil {
			return "", err
		}
	}
	im.warn("the first implementation opened for all addresses; " +
		"now the service opens only for the address that knocked, unless you set open_to = \"anyone\"")
	openFor := time.Duration(timeout) * time.Second
	return fmt.Sprintf(`[[service]]
name = %[1]q
type = %[1]q
%[3]slisten = %[2]q
open_for = "%[4]ds"
# Each further sequence adds open_for, as in the first implementation, which had no
# limit. Here the rest of a lease never exceeds open_max.
open_max = "%[5]ds"
# The first implementation opened for all addresses:
# open_to = "anyone"
`, kind, net.JoinHostPort(bind, strconv.Itoa(port)), keys, timeout, int(min(addUp*openFor, maxOpen)/time.Second)), nil
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
