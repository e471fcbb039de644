package firewall

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/sessions/gate/access"
)

// A service whose port rotates has drawn ports. There are two kinds:
//
// With Port, another program listens on this one port, the real port. It is closed to
// all but trusted peers. Packets of an admitted peer to its drawn port are redirected
// to the real port. Strangers' packets to a drawn port are not touched: the port
// answers as all unused ports of this host do.
//
// Without Port (Port is 0), the server itself listens on each drawn port while a
// lease requires it. The table lets the admitted peers through, also with Stealth,
// and answers strangers as an unused port does.

// rotates reports whether the grants of the service open drawn ports.
func (p Port) rotates() bool { return len(p.Drawn) > 0 }

// redirects reports whether packets to drawn ports are redirected to Port.
func (p Port) redirects() bool { return p.rotates() && p.Port != 0 }

// listens reports whether the server listens on the drawn ports.
func (p Port) listens() bool { return p.rotates() && p.Port == 0 }

// validateDrawn is validate for what concerns drawn ports.
func (p Port) validateDrawn() error {
	switch {
	case !p.rotates():
		return nil
	case p.RequireISN:
		return errors.New("a port that rotates cannot require an initial sequence number")
	case p.redirects() && (p.Hook != HookPrerouting || !p.single()):
		return errors.New("drawn ports can be redirected to one port only, guarded at prerouting")
	case p.listens() && (p.Hook != HookPrerouting || p.Cut || p.Last != 0 || len(p.More) > 0 || p.Jump != ""):
		return errors.New("where the server listens on drawn ports, it has no other port, and filters by itself")
	}
	for i, r := range p.Drawn {
		if !r.IsValid() || slices.ContainsFunc(p.Drawn[:i], r.Overlaps) {
			return fmt.Errorf("expected disjoint ranges of ports to draw, got %s", r)
		}
	}
	if p.listens() {
		return At{p.Address, p.Drawn[0]}.validate()
	}
	return nil
}

// checkDrawn returns an error if a grant cannot have this drawn port, 0: none.
func (c Config) checkDrawn(p Port, port uint16) error {
	switch {
	case !p.rotates() && port == 0:
		return nil
	case !p.rotates():
		return fmt.Errorf("service %s has a fixed port, got the drawn port %d", p.Service, port)
	case !access.AnyHas(p.Drawn, port):
		return fmt.Errorf("service %s: expected a port that may be drawn, got %d", p.Service, port)
	}
	for _, other := range c.Ports {
		if other.Protocol == p.Protocol && (other.has(port) || other.Listener == port) {
			return fmt.Errorf("service %s: the drawn port %d is guarded for service %s", p.Service, port, other.Service)
		}
	}
	return nil
}

// redirects reports whether packets to drawn ports, or to a port behind a listener, are
// redirected, and listens whether the server listens on drawn ports of some service.
func (c Config) redirects() bool {
	return slices.ContainsFunc(c.Ports, func(p Port) bool { return p.redirects() || p.proxied() })
}

func (c Config) listens() bool { return slices.ContainsFunc(c.Ports, Port.listens) }
