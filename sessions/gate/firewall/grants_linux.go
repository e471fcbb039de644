package firewall

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Open lets an address reach a port, by its index in Config.Ports, for d from
// now, whether it could before or not.
func (t *Table) Open(port int, a netip.Addr, d time.Duration) error {
	if !a.IsValid() {
		return errors.New("change the firewall: open a port to no address")
	}
	return t.Apply([]Change{{Kind: Open, Port: port, Address: a, For: d}})
}

// OpenToAll lets every address reach a port for d from now.
func (t *Table) OpenToAll(port int, d time.Duration) error {
	return t.Apply([]Change{{Kind: Open, Port: port, For: d}})
}

// Close ends what Open began, or, with the zero address, OpenToAll. It is no
// error if it has ended already.
func (t *Table) Close(port int, a netip.Addr) error {
	return t.Apply([]Change{{Kind: Close, Port: port, Address: a}})
}

// CloseAll ends all grants, in one transaction. Knock ports stay.
func (t *Table) CloseAll() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	batch, err := newBatch()
	if err != nil {
		return err
	}
	for _, s := range t.sets.grants() {
		batch.FlushSet(s)
	}
	if err := commit(batch); err != nil {
		return fmt.Errorf("close the firewall: %w", err)
	}
	maps.DeleteFunc(t.ends, func(e element, _ time.Time) bool { return e.set != t.sets.knock })
	return nil
}

// Deaf has no port take knocks any more: when nobody listens there, what came
// through would be answered by ICMP.
func (t *Table) Deaf() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	batch, err := newBatch()
	if err != nil {
		return err
	}
	batch.FlushSet(t.sets.knock)
	if err := commit(batch); err != nil {
		return fmt.Errorf("close the knock ports: %w", err)
	}
	maps.DeleteFunc(t.ends, func(e element, _ time.Time) bool { return e.set == t.sets.knock })
	return nil
}

// Knock has UDP ports take knocks for d from now, in one transaction for each
// MaxChanges of them.
func (t *Table) Knock(ports []uint16, d time.Duration) error {
	for some := range slices.Chunk(ports, MaxChanges) {
		changes := make([]Change, len(some))
		for i, p := range some {
			changes[i] = Change{Kind: Knock, Port: int(p), For: d}
		}
		if err := t.Apply(changes); err != nil {
			return err
		}
	}
	return nil
}

// Granted returns how many grants there are, those to every address included.
func (t *Table) Granted() (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	batch, err := newBatch()
	if err != nil {
		return 0, err
	}
	for _, s := range t.sets.grants() {
		elements, err := batch.GetSetElements(s)
		if err != nil {
			return 0, fmt.Errorf("count the grants in %s: %w", s.Name, explain(err))
		}
		n += len(elements)
	}
	return n, nil
}
