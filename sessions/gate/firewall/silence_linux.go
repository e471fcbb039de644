package firewall

import (
	"errors"
	"fmt"
)

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
