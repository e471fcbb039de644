package config

import (
	"slices"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/helper"
)

// Firewall is what the firewall's table guards, if there is one: every service,
// each in the place that it has in the configuration.
func (c *Config) Firewall() (f firewall.Config) {
	f.Stealth, f.Except = c.Stealth, c.StealthExcept
	if c.Challenge != nil {
		f.Captured = [2]uint16{c.Challenge.Plan.Ports.First, c.Challenge.Plan.Ports.Last}
	}
	for i := range c.Services {
		s := &c.Services[i]
		p := firewall.Port{Service: s.ID(), Protocol: firewall.TCP, Address: s.Host(), Port: s.Port()}
		if s.UDP {
			p.Protocol = firewall.UDP
		}
		s.kind.guard(s, c.Stealth, &p)
		f.Ports = append(f.Ports, p)
	}
	return f
}

// Policy is what the server may ask of the firewall's holder.
func (c *Config) Policy() helper.Policy {
	p := helper.Policy{Taken: c.UDPPorts()}
	for i := range c.Services {
		s := &c.Services[i]
		p.Services = append(p.Services, helper.Service{
			ID: s.ID(), Name: s.Name, OpenMax: s.Terms.OpenMax, Anyone: s.Terms.Anyone, PrefixLen6: s.PrefixLen6,
		})
	}
	return p
}

// Schedule is how the ports of knocks are drawn, for the firewall's holder. The
// configuration must have its port secrets.
func (c *Config) Schedule() helper.Schedule {
	return helper.Schedule{Ports: c.PortLists(), Tolerance: c.Tolerance}
}

// Digest is that of what the server and the holder must both have read.
func (c *Config) Digest() helper.Digest { return helper.DigestOf(c.Policy(), c.Firewall()) }

// CutByHelper are the services whose connections only the holder can end: they
// are neither the server's own, nor does a rule of the firewall end them.
func (c *Config) CutByHelper() (ids []access.ServiceID) {
	for i := range c.Services {
		if s := &c.Services[i]; !s.Binds() && !s.Terms.Cut {
			ids = append(ids, s.ID())
		}
	}
	return ids
}

// Carried returns the services whose connections the kernel carries.
func (c *Config) Carried() (ids []access.ServiceID) {
	for i := range c.Services {
		if s := &c.Services[i]; !s.Binds() {
			ids = append(ids, s.ID())
		}
	}
	return ids
}

// UDPPorts are those of services. Strangers' datagrams do not come there.
func (c *Config) UDPPorts() (ports []uint16) {
	for i := range c.Services {
		if c.Services[i].UDP {
			ports = append(ports, c.Services[i].Port())
		}
	}
	return ports
}

// ServicePorts are those of all services, of whichever protocol.
func (c *Config) ServicePorts() []uint16 {
	ports := make([]uint16, len(c.Services))
	for i := range c.Services {
		ports[i] = c.Services[i].Port()
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
