package config

import (
	"errors"
	"fmt"

	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/challenge"
)

// Host has the properties of a host that decide whether a configuration can run
// there. privilege.Probe finds them; in tests, Host is a literal.
type Host = privilege.Host

// NeedsFirewall returns what in the configuration requires the firewall on a host,
// as the subject of a sentence; empty: nothing.
func (c *Config) NeedsFirewall(h Host) string {
	if c.Stealth {
		return "stealth = true"
	}
	for i := range c.Services {
		if why := c.Services[i].kind.firewall(&c.Services[i], h); why != "" {
			return why
		}
	}
	return ""
}

// Check checks a configuration against a host: if the host makes the firewall
// necessary, the firewall must be able to guard all services. An error names the
// line.
func (c *Config) Check(h Host) error {
	why := c.NeedsFirewall(h)
	if why == "" {
		return nil
	}
	err := c.Firewall().Validate()
	var port *firewall.PortError
	if errors.As(err, &port) {
		if port.Other >= 0 {
			err = fmt.Errorf("%w; service %s guards it too", err, c.Services[port.Other].Name)
		}
		return c.file.Errorf(fmt.Sprintf("service.%d.listen", port.Place),
			"got %q; %s puts all services behind the firewall, but %v",
			c.Services[port.Place].Listen, why, err)
	}
	if err != nil {
		return c.file.Errorf("service", "got services that the firewall cannot guard: %v", err)
	}
	return nil
}

// Needs has the capabilities that the server requires.
type Needs struct {
	Holder   string // what requires a holder with CAP_NET_ADMIN; empty: nothing
	LowPorts bool   // CAP_NET_BIND_SERVICE
	Capture  bool   // CAP_NET_RAW
}

// Needs returns the capabilities that the configuration requires on a host.
func (c *Config) Needs(h Host) Needs {
	n := Needs{Holder: c.NeedsFirewall(h), Capture: c.Challenge != nil && !c.Challenge.Sockets}
	for i := range c.Services {
		n.LowPorts = n.LowPorts || c.Services[i].Binds() && int(c.Services[i].Port()) < h.FirstOpenPort
	}
	if c.Challenge != nil && c.Challenge.Sockets && int(c.Challenge.Plan.Ports.First) < h.FirstOpenPort {
		n.LowPorts = true
	}
	return n
}

// udpServiceIn returns a UDP service with one of the ports p, and the first range of
// the service that has one; nil: there is none.
func (c *Config) udpServiceIn(p challenge.Ports) (*Service, access.Ports) {
	for i := range c.Services {
		s := &c.Services[i]
		for _, ports := range s.Ports() {
			if s.UDP && ports.Overlaps(access.Ports{First: p.First, Last: p.Last}) {
				return s, ports
			}
		}
	}
	return nil, access.Ports{}
}
