package firewall

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// Close implements access.Enforcer: it ends all grants and closes all knock
// ports. Without a socket for them, the kernel would answer knocks that pass
// with ICMP. If Close returns nil, the table exists, unchanged and closed, but for trials
// that are over.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.confirmed) // if Keep makes the table again, it opens nothing
	if err := t.close(); err != nil {
		return fmt.Errorf("close the firewall: %w", err)
	}
	return nil
}

func (t *Table) close() error {
	for range attempts {
		fault, c, err := t.findFault()
		switch {
		case err != nil:
			return err
		case fault == "" && t.nothingOpen():
			return nil // as findFault has just seen
		case fault == "":
			err = t.flush()
		default:
			if t.unreported, err = t.repair(fault, c); err == nil {
				err = t.unreported.Err
			}
		}
		if err != nil && !isConflict(err) {
			return err
		}
	}
	return errors.New("another program keeps changing the table")
}

// nothingOpen reports whether no element can exist that lets a packet in.
func (t *Table) nothingOpen() bool {
	for e := range t.latestEnd {
		if !isSettling(e.set) {
			return false
		}
	}
	return true
}

// flush removes all elements that let packets in.
func (t *Table) flush() error {
	batch, err := t.batch()
	if err != nil {
		return err
	}
	for _, s := range t.sets.withTimeouts() {
		if !isSettling(s.Name) && !isTrial(s.Name) {
			batch.FlushSet(s)
		}
	}
	if err := t.commit(batch); err != nil {
		return err
	}
	maps.DeleteFunc(t.latestEnd, func(e element, _ time.Time) bool { return !isSettling(e.set) })
	t.incomplete = false
	return nil
}
