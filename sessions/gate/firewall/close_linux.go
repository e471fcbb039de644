package firewall

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// Close implements access.Enforcer: it ends all grants, and no port takes knocks
// any more. Where nobody listens any more, knocks that came through would be
// answered by ICMP. The table stays: without an error it is there, as it was
// made, and closed.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.open) // if the table is made anew, nothing is open
	if err := t.close(); err != nil {
		return fmt.Errorf("close the firewall: %w", err)
	}
	return nil
}

func (t *Table) close() error {
	for range attempts {
		fault, c, err := t.fault()
		switch {
		case err != nil:
			return err
		case fault == "" && t.closed():
			return nil // as seen just now
		case fault == "":
			err = t.empty()
		default:
			if t.untold, err = t.repair(fault, c); err == nil {
				err = t.untold.Err
			}
		}
		if err != nil && !disturbed(err) {
			return err
		}
	}
	return errors.New("another program changes the table without a pause")
}

// closed reports whether nothing can be there that lets a packet in.
func (t *Table) closed() bool {
	for e := range t.ends {
		if e.set != settlingSet {
			return false
		}
	}
	return true
}

// empty removes what lets packets in.
func (t *Table) empty() error {
	batch, err := t.batch()
	if err != nil {
		return err
	}
	for _, s := range t.sets.timed() {
		if s.Name != settlingSet {
			batch.FlushSet(s)
		}
	}
	if err := t.commit(batch); err != nil {
		return err
	}
	maps.DeleteFunc(t.ends, func(e element, _ time.Time) bool { return e.set != settlingSet })
	t.incomplete = false
	return nil
}
