package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
)

// Table is the table as Claim made it, and nobody has changed since. It is an
// access.Enforcer. Its methods may be called concurrently; one transaction runs
// at a time. One that finds the table removed restores it first: what the table
// hides must not stay open.
type Table struct {
	cfg   Config
	clock clock.Clock
	ports map[access.ServiceID]Port
	sets  sets
	// renews: adding an element that is there changes its timeout, as it does
	// since Linux 6.12.
	renews bool

	mu sync.Mutex
	// When what was opened ends, as clock.Monotonic has it: ends has what may be
	// there, at the latest; open has what the kernel has confirmed, and nobody
	// wanted closed since. A table that is restored gets open, and no more.
	ends, open map[element]time.Time
	prune      time.Time // when to forget what has ended
	incomplete bool      // a restored table lacks some of open
}

// element is one of a set.
type element struct {
	set string // its name: a table that is restored has other sets
	key string
}

const (
	// MaxChanges is how many changes one transaction has room for.
	MaxChanges = 1024
	// MinTime is what a shorter time counts as. A kernel may take less than a
	// tick of its clock for eternity.
	MinTime = 10 * time.Millisecond
	// slack is how much longer an element may be there than its time: it ends
	// by the kernel's clock, which has ticks.
	slack = time.Second
	// pruneEvery is the time between two looks for what has ended.
	pruneEvery = 10 * time.Second
	// elementsPerMessage is how many elements fit into an attribute's 64 KiB.
	elementsPerMessage = 512
	// attempts is how often a transaction is tried that the end of an element
	// has disturbed.
	attempts = 4
)

// Apply implements access.Enforcer. MaxChanges go into a transaction, which is
// split if it fails. Afterwards exactly the time asked for is left, whatever was
// before, and nothing open has been closed for an instant. Cut is not for Apply:
// see Disconnect.
func (t *Table) Apply(changes []access.Change) []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := make([]error, 0, len(changes))
	failed := false
	for some := range slices.Chunk(changes, MaxChanges) {
		for _, err := range t.applySome(some) {
			failed = failed || err != nil
			errs = append(errs, err)
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// applySome is Apply for as many changes as a transaction has room for. It
// always returns an error, or nil, for each.
func (t *Table) applySome(changes []access.Change) []error {
	errs := make([]error, len(changes))
	now := t.clock.Boot()
	last := make(outcome, len(changes)) // of several to one thing the last counts
	of := make([]element, len(changes))
	for i, c := range changes {
		port, ok := t.ports[c.Service]
		if !ok || !c.Peer.IsValid() {
			errs[i] = fmt.Errorf("change the firewall: expected a guarded service and a peer, got service %s and peer %s", c.Service, c.Peer)
			continue
		}
		set, key := t.sets.grant(port, c.Peer)
		of[i] = element{set.Name, string(key)}
		last[of[i]] = 0
		if !c.Revokes() {
			last[of[i]] = max(c.Until.Sub(now), MinTime)
		}
	}
	failed := t.transact(last)
	for i, e := range of {
		if err := failed[e]; err != nil {
			errs[i] = fmt.Errorf("change the firewall: %w", err)
		}
	}
	return errs
}

// OpenKnockPorts has UDP ports take knocks for d from now, in whole milliseconds
// above 0, in a transaction for each MaxChanges of them.
func (t *Table) OpenKnockPorts(ports []uint16, d time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for some := range slices.Chunk(ports, MaxChanges) {
		o := make(outcome, len(some))
		for _, p := range some {
			if d <= 0 || p == 0 || t.cfg.guards(p) {
				return fmt.Errorf("open the knock ports: UDP port %d cannot take knocks for %s", p, d)
			}
			o[element{t.sets.knock.Name, string(binary.BigEndian.AppendUint16(nil, p))}] = max(d, MinTime)
		}
		if err := t.try(o); err != nil {
			return fmt.Errorf("open the knock ports: %w", err)
		}
	}
	return nil
}

// Close implements access.Enforcer: it ends all grants, and no port takes knocks
// any more, in one transaction. Where nobody listens any more, knocks that came
// through would be answered by ICMP. The table stays.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.open) // if the table is gone, it comes back with nothing open
	var err error
	for range attempts {
		if err = t.empty(); !errors.Is(err, unix.ENOENT) {
			break // or removed at this instant: once more
		}
	}
	if err != nil {
		return fmt.Errorf("close the firewall: %w", err)
	}
	clear(t.ends)
	return nil
}

// empty removes all elements that end, from a table that it restores if need be.
func (t *Table) empty() error {
	if _, err := t.restore(); err != nil {
		return err
	}
	batch, err := newBatch()
	if err != nil {
		return err
	}
	for _, s := range append(t.sets.grants(), t.sets.knock) {
		batch.FlushSet(s)
	}
	return commit(batch)
}

// remember takes down what is there, or may be, for as long as it lasts.
func (t *Table) remember(o outcome, certain bool) {
	now := t.clock.Monotonic()
	for e, left := range o {
		end := now.Add(left + slack)
		switch {
		case left == 0:
			delete(t.open, e)
			if certain {
				delete(t.ends, e)
			}
		case certain:
			t.ends[e], t.open[e] = end, end
		case end.After(t.ends[e]):
			t.ends[e] = end
		}
	}
	if now.After(t.prune) {
		ended := func(_ element, end time.Time) bool { return now.After(end) }
		maps.DeleteFunc(t.ends, ended)
		maps.DeleteFunc(t.open, ended)
		t.prune = now.Add(pruneEvery)
	}
}

// outcome is the time that elements are to have left; 0: they are gone.
type outcome map[element]time.Duration

// apply makes it so. What is not there is added. What is there is added again,
// where that changes its timeout; elsewhere it is added, since it may have
// ended and to remove what is not there fails, removed, and added anew: packets
// see only the end of that. A removal is dear: the kernel has the transaction
// after it wait until no packet can see any more what was removed.
func (t *Table) apply(o outcome) error {
	now := t.clock.Monotonic()
	batch, err := newBatch()
	if err != nil {
		return err
	}
	type changes struct{ there, stay []nftables.SetElement }
	of := map[string]*changes{}
	for e, left := range o {
		c := of[e.set]
		if c == nil {
			c = new(changes)
			of[e.set] = c
		}
		one := nftables.SetElement{Key: []byte(e.key), Timeout: max(left, MinTime)}
		if now.Before(t.ends[e]) && (left == 0 || !t.renews) {
			c.there = append(c.there, one)
		}
		if left > 0 {
			c.stay = append(c.stay, one)
		}
	}
	for _, set := range t.sets.all() {
		c := of[set.Name]
		if c == nil {
			continue
		}
		add := func(e []nftables.SetElement) error { return batch.SetAddElements(set, e) }
		remove := func(e []nftables.SetElement) error { return batch.SetDeleteElements(set, e) }
		if err := errors.Join(inMessages(c.there, add), inMessages(c.there, remove), inMessages(c.stay, add)); err != nil {
			return err
		}
	}
	return commit(batch)
}

// inMessages calls f with as many elements at a time as fit into a message.
func inMessages(elements []nftables.SetElement, f func([]nftables.SetElement) error) error {
	for some := range slices.Chunk(elements, elementsPerMessage) {
		if err := f(some); err != nil {
			return err
		}
	}
	return nil
}
