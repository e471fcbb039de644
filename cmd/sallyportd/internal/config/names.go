package config

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/client"
)

// resolveTime is how long all host names in "listen" may take to resolve.
const resolveTime = 10 * time.Second

// lookup returns the addresses of a host name.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// parseListenEntry returns an entry of "listen": an address, or the zero Addr for a host
// name. It returns an error text if it is neither.
func parseListenEntry(text string) (a netip.Addr, fault string) {
	a, err := netip.ParseAddr(text)
	switch {
	case err == nil && whyNotBindable(a) != "":
		return a, ", " + whyNotBindable(a)
	case err == nil:
		return a.Unmap(), ""
	case !client.ValidHost(text):
		return a, ", which is neither"
	}
	return netip.Addr{}, ""
}

// ResolveListen replaces each host name in "listen" by its addresses. A server must call
// it once, before it opens a port, and before other goroutines use the configuration.
// Until then, Listen has the zero Addr for a name, which no socket can bind. A reload
// does not resolve names again, since a change of "listen" requires a restart.
func (c *Config) ResolveListen(ctx context.Context) error {
	return c.resolveListen(ctx, net.DefaultResolver.LookupNetIP)
}

func (c *Config) resolveListen(ctx context.Context, find lookup) error {
	if len(c.listenNames) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	all := slices.DeleteFunc(slices.Clone(c.Listen), func(a netip.Addr) bool { return !a.IsValid() })
	for _, name := range c.listenNames {
		found, err := find(ctx, "ip", name)
		if err != nil {
			return hint.With(c.file.Errorf("listen", "got the host name %q, which does not resolve: %v", name, hint.Cause(err)),
				"write the address of this host instead, or add the name to /etc/hosts")
		}
		for i := range found {
			found[i] = found[i].Unmap()
		}
		slices.SortFunc(found, netip.Addr.Compare)
		for _, a := range found {
			why := whyNotBindable(a)
			if a.IsUnspecified() {
				why = "which stands for all addresses"
			}
			if why != "" {
				return c.file.Errorf("listen", "got the host name %q, which resolves to %s, %s", name, a, why)
			}
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	c.Listen, c.listenNames = all, nil
	return nil
}
