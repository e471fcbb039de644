package config

import (
	"errors"
	"fmt"

	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/challenge"
)

// Host is what of a host decides whether a configuration can run there. In
// tests it is a literal; privilege.Probe asks the kernel.
type Host = privilege.Host

// NeedsFirewall says what of the configuration requires the firewall on a host,
// as the subject of a sentence; empty: nothing does.
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

// Check holds a configuration against a host: whether the firewall, where the
// host makes it necessary, can guard all services. An error names the line.
func (c *Config) Check(h Host) error {
	why := c.NeedsFirewall(h)
	if why == "" {
		return nil
	}
	err := c.Firewall().Validate()
	if wrong := (*firewall.PortError)(nil); errors.As(err, &wrong) {
		return c.file.Errorf(fmt.Sprintf("service.%d.listen", wrong.Place), "got %q, but %s has all services stand behind the firewall; %v", c.Services[wrong.Place].Listen, why, err)
	} else if err != nil {
		return c.file.Errorf("service", "got too much for the firewall: %v", err)
	}
	return nil
}

// Needs are the capabilities that the server requires.
type Needs struct {
	Helper   string // why a privileged helper with CAP_NET_ADMIN; empty: none
	LowPorts bool   // CAP_NET_BIND_SERVICE
	Capture  bool   // CAP_NET_RAW
}

// Needs says which capabilities the configuration requires on a host.
func (c *Config) Needs(h Host) Needs {
	n := Needs{Helper: c.NeedsFirewall(h), Capture: c.Challenge != nil && !c.Challenge.Sockets}
	for i := range c.Services {
		n.LowPorts = n.LowPorts || c.Services[i].Binds() && int(c.Services[i].Port()) < h.FirstOpenPort
	}
	n.LowPorts = n.LowPorts || c.Challenge != nil && c.Challenge.Sockets && int(c.Challenge.Plan.Ports.First) < h.FirstOpenPort
	return n
}

// overlaps reports whether a UDP service has one of the ports.
func (c *Config) overlaps(p challenge.Ports) *Service {
	for i := range c.Services {
		if s := &c.Services[i]; s.UDP && p.First <= s.Port() && s.Port() <= p.Last {
			return s
		}
	}
	return nil
}
