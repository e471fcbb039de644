package config

import (
	"net"
	"net/netip"
	"strconv"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate/access"
)

// minMetricsPort is the lowest port at which the server serves the metrics: it may have no
// right to bind a lower one.
const minMetricsPort = 1024

// metrics checks where the server serves its metrics. Only the loopback is possible: the
// metrics have no password, and strangers could learn from them whether they are refused.
func (r *raw) metrics(f *tomlfile.File, c *Config) error {
	const key = "metrics_listen"
	if r.MetricsListen == "" {
		if f.Has(key) {
			return f.Errorf(key, "got nothing")
		}
		return nil
	}
	at, err := netip.ParseAddrPort(r.MetricsListen)
	switch {
	case err != nil:
		return f.Errorf(key, "got %q", r.MetricsListen)
	case at.Addr().Zone() != "" || at.Addr().Is4In6() || !at.Addr().IsLoopback():
		return f.Errorf(key, "got %q, which is no address of the loopback", r.MetricsListen)
	case at.Port() < minMetricsPort:
		return f.Errorf(key, "got %q, with a port below %d", r.MetricsListen, minMetricsPort)
	}
	for i := range c.Services {
		if s := &c.Services[i]; !s.UDP && (s.Via() == at.Port() || access.AnyHas(s.Ports(), at.Port())) {
			return f.Errorf(key, "got %q, with a port of service %s", r.MetricsListen, s.Name)
		}
	}
	for _, h := range c.HTTP() {
		if _, port, err := net.SplitHostPort(h.Listen); err == nil && port == strconv.Itoa(int(at.Port())) {
			return f.Errorf(key, "got %q, with a port of [[challenge.http]]", r.MetricsListen)
		}
	}
	c.MetricsListen = at
	return nil
}
