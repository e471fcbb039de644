package firewall

import (
	"maps"
	"slices"

	"sallyport/sessions/gate/access"
)

// Silence is how the table answers strangers: the part of a Config that SetSilence
// changes while the table is in force.
type Silence struct {
	Stealth bool
	Except  []uint16
	Reject  map[access.ServiceID]bool // of each port
}

// Silence returns how a table of the configuration answers strangers.
func (c Config) Silence() *Silence {
	s := Silence{c.Stealth, slices.Clone(c.Except), make(map[access.ServiceID]bool, len(c.Ports))}
	for _, p := range c.Ports {
		s.Reject[p.Service] = p.Reject
	}
	return &s
}

// with returns the configuration with another Silence.
func (c Config) with(s *Silence) Config {
	c.Stealth, c.Except, c.Ports = s.Stealth, slices.Clone(s.Except), slices.Clone(c.Ports)
	for i := range c.Ports {
		c.Ports[i].Reject = s.Reject[c.Ports[i].Service]
	}
	return c
}

func (s *Silence) equal(other *Silence) bool {
	return s.Stealth == other.Stealth && slices.Equal(s.Except, other.Except) && maps.Equal(s.Reject, other.Reject)
}
