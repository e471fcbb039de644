package firewall

import (
	"errors"
	"fmt"
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

// SetSilence changes how the table answers strangers. Each transaction leaves the
// table complete, with the grants and the knock ports that are open, of which the
// first has at most MaxChanges. If SetSilence fails, the earlier table is in force.
func (t *Table) SetSilence(next *Silence) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cfg.Silence().equal(next) {
		return nil
	}
	if err := t.setSilence(next); err != nil {
		return fmt.Errorf("change stealth: %w", err)
	}
	return nil
}

func (t *Table) setSilence(next *Silence) error {
	cfg := t.cfg.with(next)
	if err := cfg.Validate(); err != nil {
		return err
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	r, err := t.restore()
	if err != nil {
		return err // another owner has claimed the table, for example
	}
	if r.Fault != "" {
		t.unreported = r
	}
	before, sets := t.cfg, t.sets
	t.cfg, t.sets = cfg, newSets(cfg)
	if err := t.remake(k); err != nil {
		t.cfg, t.sets = before, sets
		return errors.Join(err, t.remake(k))
	}
	return nil
}
