package config

import (
	"slices"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
)

// Firewall returns the configuration of the firewall's table, if there is one. It
// guards all services, in the order of the configuration.
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

// Policy returns what the server may request from the firewall's holder.
func (c *Config) Policy() holder.Policy {
	p := holder.Policy{Taken: c.UDPPorts()}
	for i := range c.Services {
		s := &c.Services[i]
		p.Services = append(p.Services, holder.Service{
			ID: s.ID(), Name: s.Name, OpenMax: s.Policy.OpenMax, Anyone: s.Policy.Anyone, PrefixLen6: s.PrefixLen6,
		})
	}
	return p
}

// Schedule returns the schedule of knock ports for the firewall's holder. The
// configuration must contain its port secrets.
func (c *Config) Schedule() holder.Schedule {
	return holder.Schedule{Ports: c.PortLists(), Tolerance: c.Tolerance}
}

// Digest returns the digest of the settings on which the server and the holder must
// agree.
func (c *Config) Digest() holder.Digest { return holder.DigestOf(c.Policy(), c.Firewall()) }

// CutByHelper returns the services whose connections only the holder can cut: the
// server does not carry them, and no rule of the firewall cuts them.
func (c *Config) CutByHelper() (ids []access.ServiceID) {
	for i := range c.Services {
		if s := &c.Services[i]; !s.Binds() && !s.Policy.Cut {
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

// UDPPorts returns the UDP ports of services, which strangers' datagrams do not
// reach.
func (c *Config) UDPPorts() (ports []uint16) {
	for i := range c.Services {
		if c.Services[i].UDP {
			ports = append(ports, c.Services[i].Port())
		}
	}
	return ports
}

// ServicePorts returns the ports of all services, TCP and UDP.
func (c *Config) ServicePorts() []uint16 {
	ports := make([]uint16, len(c.Services))
	for i := range c.Services {
		ports[i] = c.Services[i].Port()
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
