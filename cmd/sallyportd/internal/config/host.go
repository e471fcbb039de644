package config

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
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
	if c.Challenge != nil && c.Challenge.Answers != nil && !h.FilterTCP {
		return "transport = \"tcp\", with this kernel,"
	}
	for i := range c.Services {
		if why := c.Services[i].kind.firewall(&c.Services[i], h); why != "" {
			return why
		}
	}
	return ""
}

// WithoutFirewall returns how to change the configuration so that it does not
// require the firewall, if only the look of services requires it; empty otherwise.
func (c *Config) WithoutFirewall(h Host) string {
	able := h
	able.FilterTCP = true
	if c.NeedsFirewall(able) != "" || c.Challenge != nil && c.Challenge.Answers != nil {
		return ""
	}
	var names []string
	for i := range c.Services {
		if s := &c.Services[i]; s.kind.firewall(s, h) != "" {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "set look = \"closed\" for " + strings.Join(names, ", ") + ", which requires no privilege"
}

// Check checks a configuration against a host: if the host makes the firewall
// necessary, the firewall must be able to guard all services; and if it has IPv6,
// the operations must fit their ports over IPv6 too. An error names the line.
func (c *Config) Check(h Host) error {
	if err := c.CheckOperations(h); err != nil {
		return err
	}
	why := c.NeedsFirewall(h)
	if why == "" {
		return nil
	}
	err := c.Firewall().Validate()
	var port *firewall.PortError
	guarded := c.withPort()
	if errors.As(err, &port) && port.Place == len(guarded) {
		return c.file.Errorf("challenge.answer_port", "got a port that the firewall cannot guard: %v", err)
	}
	if errors.As(err, &port) {
		if port.Other >= 0 {
			err = fmt.Errorf("%w; service %s guards it too", err, c.Services[guarded[port.Other]].Name)
		}
		place := guarded[port.Place]
		return c.file.Errorf(fmt.Sprintf("service.%d.listen", place),
			"got %q; %s puts all services behind the firewall, but %v",
			c.Services[place].Listen, why, err)
	}
	if err != nil {
		return c.file.Errorf("service", "got services that the firewall cannot guard: %v", err)
	}
	return nil
}

// CheckOperations checks that the operations fit their ports in all address families
// that a host has.
func (c *Config) CheckOperations(h Host) error {
	if c.Challenge == nil || h.NoIPv6 {
		return nil
	}
	return c.Challenge.without6
}

// CheckIPv6 returns an error if the server cannot bind an IPv6 address that the
// configuration names, because the host has no IPv6. The addresses that stand for
// all addresses of a host, such as "::", are not errors there: see WithoutIPv6.
func (c *Config) CheckIPv6(h Host) error {
	if !h.NoIPv6 {
		return nil
	}
	const why = "which requires IPv6, but this host, or its sandbox, has none"
	for i, a := range c.Listen {
		if a.Is6() && !a.IsUnspecified() {
			return c.file.Errorf("listen", "got %q (entry %d), %s", a, i+1, why)
		}
	}
	for i := range c.Services {
		if s := &c.Services[i]; s.Carries() && s.Host().Is6() {
			return c.file.Errorf(fmt.Sprintf("service.%d.listen", i), "got %q, %s", s.Listen, why)
		}
	}
	for _, l := range c.CarrierListeners() {
		if at, _ := parseListen(l.Listen); at.address().Is6() {
			return c.file.Errorf(l.Key+".listen", "got %q, %s", l.Listen, why)
		}
	}
	return nil
}

// WithoutIPv6 reports whether the server uses only IPv4 because the host has no
// IPv6, although the configuration names addresses that stand for both families.
func (c *Config) WithoutIPv6(h Host) bool {
	if !h.NoIPv6 {
		return false
	}
	_, six := c.Listen.Families()
	for i := range c.Services {
		s := &c.Services[i]
		_, serves := s.Addresses().Families()
		six = six || s.Carries() && serves
	}
	return six
}

// Needs has the capabilities that the server requires.
type Needs struct {
	Holder   string // what requires a holder with CAP_NET_ADMIN; empty: nothing
	LowPorts bool   // CAP_NET_BIND_SERVICE
	Capture  bool   // CAP_NET_RAW, at the start
}

// Needs returns the capabilities that the configuration requires on a host.
func (c *Config) Needs(h Host) Needs {
	n := Needs{Holder: c.NeedsFirewall(h), Capture: c.Captured() != nil}
	for i := range c.Services {
		n.LowPorts = n.LowPorts || c.Services[i].Carries() && int(c.Services[i].firstPort()) < h.FirstOpenPort
	}
	if c.Challenge != nil && c.Challenge.Sockets && int(c.Challenge.Plan.Ports.First) < h.FirstOpenPort {
		n.LowPorts = true
	}
	if c.Challenge != nil && c.Challenge.Answers != nil && int(c.Challenge.Answers.Port) < h.FirstOpenPort {
		n.LowPorts = true
	}
	if c.Fleet != nil && c.Fleet.Relay != nil && int(c.Fleet.Relay.Gateways[c.Fleet.Name].Port()) < h.FirstOpenPort {
		n.LowPorts = true
	}
	for _, l := range c.CarrierListeners() {
		n.LowPorts = n.LowPorts || int(portOf(l.Listen).First) < h.FirstOpenPort
	}
	return n
}

// serviceIn returns a service of UDP, or of TCP, with one of the ports p, and the first
// range of the service that has one; nil: there is none.
func (c *Config) serviceIn(p access.Ports, udp bool) (*Service, access.Ports) {
	for i := range c.Services {
		s := &c.Services[i]
		for _, ports := range append(s.Ports(), s.viaPorts()...) {
			if s.UDP == udp && ports.Overlaps(p) {
				return s, ports
			}
		}
	}
	return nil, access.Ports{}
}
