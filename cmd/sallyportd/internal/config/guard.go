package config

import (
	"slices"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/verify/schedule"
)

// withPort returns the places of the services that have a port, which the firewall can
// guard.
func (c *Config) withPort() (places []int) {
	for i := range c.Services {
		if c.Services[i].HasPort() {
			places = append(places, i)
		}
	}
	return places
}

// Firewall returns the configuration of the firewall's table, if there is one. It
// guards all services that have a port, in the order of the configuration.
func (c *Config) Firewall() (f firewall.Config) {
	f.Stealth, f.Except, f.Trusted = c.Stealth, c.StealthExcept, map[access.ServiceID]firewall.Trusted{}
	if p := c.Challenge.PacketPorts(); p.IsValid() && c.Challenge.Answers == nil {
		f.Captured = [2]uint16{p.First, p.Last}
	}
	for _, i := range c.withPort() {
		s := &c.Services[i]
		all := s.At()
		p := firewall.Port{
			Service: s.ID(), Protocol: firewall.TCP, Address: all[0].Address, Port: all[0].Ports.First, More: all[1:],
		}
		if s.UDP {
			p.Protocol = firewall.UDP
		}
		if all[0].Ports.Len() > 1 {
			p.Last = all[0].Ports.Last
		}
		if trusted := s.Trusted(); trusted.String() != "" {
			f.Trusted[s.ID()] = trusted
		}
		p.Drawn, p.PrefixLen4 = s.drawnRanges(), s.guardedPrefix4()
		s.kind.guard(s, c.Stealth, &p)
		f.Ports = append(f.Ports, p)
	}
	if c.Challenge != nil && c.Challenge.Answers != nil {
		a := c.Challenge.Answers
		f.Ports = append(f.Ports, firewall.Port{
			Service: access.ID(AnswersName), Protocol: firewall.TCP, Port: a.Port, Reject: !a.Filtered,
		})
	}
	return f
}

// guardedPrefix4 is PrefixLen4, 0 for the default: so the digest of a configuration that
// does not set it is that of earlier releases.
func (s *Service) guardedPrefix4() int {
	if s.PrefixLen4 == access.PrefixHost4 {
		return 0
	}
	return s.PrefixLen4
}

// RequiresISN reports whether a service requires initial sequence numbers.
func (c *Config) RequiresISN() bool {
	return slices.ContainsFunc(c.Services, func(s Service) bool { return s.RequireISN })
}

// Policy returns what the server may request from the firewall's holder.
func (c *Config) Policy() holder.Policy {
	p := holder.Policy{Taken: c.UDPPorts(), Shield: c.shieldPolicy()}
	for _, i := range c.withPort() {
		s := &c.Services[i]
		p.Services = append(p.Services, holder.Service{
			ID: s.ID(), Name: s.Name, OpenMax: s.Policy.OpenMax, Anyone: s.Policy.Anyone, PrefixLen4: s.guardedPrefix4(), PrefixLen6: s.PrefixLen6,
			RequireISN: s.RequireISN, Drawn: s.drawnRanges(), AnyAddress: s.Proves && !s.Rotates() && len(c.CarrierListeners()) > 0,
		})
	}
	if c.Challenge != nil && c.Challenge.Answers != nil {
		p.Services = append(p.Services, holder.Service{
			ID: access.ID(AnswersName), Name: AnswersName, OpenMax: AnswerTime, PrefixLen6: access.PrefixHost,
		})
	}
	return p
}

// Schedule returns what the firewall's holder reads again at a reload. The
// configuration must contain its port secrets.
func (c *Config) Schedule() holder.Schedule {
	return holder.Schedule{Ports: c.PortLists(), Tolerance: c.Tolerance, Trusted: c.Firewall().Trusted, Silence: c.Firewall().Silence()}
}

// Digest returns the digest of the settings on which the server and the holder must
// agree.
func (c *Config) Digest() holder.Digest { return holder.DigestOf(c.Policy(), c.Firewall()) }

// CutByHelper returns the services whose connections only the holder can cut: the
// server does not carry them, and no rule of the firewall cuts them.
func (c *Config) CutByHelper() (ids []access.ServiceID) {
	for _, i := range c.withPort() {
		if s := &c.Services[i]; !s.Carries() && !s.Policy.Cut {
			ids = append(ids, s.ID())
		}
	}
	return ids
}

// Carried returns the services whose connections the kernel carries.
func (c *Config) Carried() (ids []access.ServiceID) {
	for _, i := range c.withPort() {
		if s := &c.Services[i]; !s.Carries() {
			ids = append(ids, s.ID())
		}
	}
	return ids
}

// UDPPorts returns the UDP ports of services, which strangers' datagrams do not
// reach.
func (c *Config) UDPPorts() (ports []access.Ports) {
	for i := range c.Services {
		if c.Services[i].UDP {
			ports = append(ports, c.Services[i].Ports()...)
		}
	}
	return ports
}

// LostKnockPorts returns how many of the ports of knocks are UDP ports of services:
// a knock to one of them is lost.
func (c *Config) LostKnockPorts() (n int) {
	all := c.UDPPorts()
	for p := schedule.MinPort; p <= schedule.MaxPort; p++ {
		if access.AnyHas(all, uint16(p)) {
			n++
		}
	}
	return n
}

// ServicePorts returns the ports of all services, TCP and UDP, with those at which their
// programs listen, and those of proxies before a program.
func (c *Config) ServicePorts() (ports []access.Ports) {
	ports = append(c.processPorts(false), c.processPorts(true)...)
	for i := range c.Services {
		ports = append(append(ports, c.Services[i].Ports()...), c.Services[i].viaPorts()...)
	}
	return ports
}
