package firewall

import (
	"errors"
	"fmt"
	"maps"
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
	if err := t.reconfigure(t.cfg.with(next)); err != nil {
		return fmt.Errorf("change stealth: %w", err)
	}
	return nil
}

// Silence returns how the table answers strangers.
func (t *Table) Silence() *Silence {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cfg.Silence()
}

// SetSilenceOnTrial is SetSilence, and replaces what is on trial, in one step. Connections
// that began by a grant before prove nothing for a trial that begins.
func (t *Table) SetSilenceOnTrial(next *Silence, on Trial) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, cfg := t.cfg, t.cfg.with(next)
	cfg.Trial = maps.Clone(on)
	err := t.reconfigure(cfg)
	if err != nil {
		return fmt.Errorf("change stealth, and the trial: %w", err)
	}
	if _, err = t.endUngranted(); err == nil {
		err = t.noteEarlier()
	}
	if err != nil {
		err = errors.Join(err, t.reconfigure(before))
	}
	return err
}

// reconfigure makes the table that a configuration requires, in the place of this one. If
// that fails, the table is as before. The caller holds the lock.
func (t *Table) reconfigure(cfg Config) error {
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
