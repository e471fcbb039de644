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

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
)

// Table is the table that Claim made. It is an access.Enforcer. Its methods may
// be called concurrently; one transaction runs at a time. One that finds the
// table removed makes it anew first: what the table hides must not stay open.
// Keep makes it anew whatever becomes of it.
type Table struct {
	cfg   Config
	owner Owner
	clock clock.Clock
	ports map[access.ServiceID]portSets
	sets  sets
	can   abilities
	// renews: adding an element that is there changes its timeout, as it does
	// since Linux 6.12.
	renews    bool
	digest    string // of the content of the table
	strangers int    // that Claim has cut off

	own own // transactions that Keep is still to hear of

	mu sync.Mutex
	// When what was opened ends, as clock.Monotonic has it: ends has what may be
	// there, at the latest; open has what the kernel has confirmed, and nobody
	// wanted closed since. A table that is made anew gets open, and no more.
	ends, open map[element]time.Time
	timeouts   outcome   // that the kernel was given last
	prune      time.Time // when to forget what has ended
	incomplete bool      // a table that was made anew lacks some of open
	identity   string    // of the table that was made last
	made       stamp     // when
	untold     Repair    // made by a method that has found the table gone; Keep reports it
	lost       error     // the table is another owner's now
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
		own, ok := t.ports[c.Service]
		if !ok || !c.Peer.IsValid() {
			errs[i] = fmt.Errorf("change the firewall: expected a guarded service and a peer, got service %s and peer %s", c.Service, c.Peer)
			continue
		}
		of[i] = own.grant(c.Peer)
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
			o[element{knockSet, string(binary.BigEndian.AppendUint16(nil, p))}] = max(d, MinTime)
		}
		if err := t.try(o); err != nil {
			return fmt.Errorf("open the knock ports: %w", err)
		}
	}
	return nil
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
		maps.DeleteFunc(t.timeouts, func(e element, _ time.Duration) bool { return t.ends[e].IsZero() })
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
	batch, err := t.batch()
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
		switch there := now.Before(t.ends[e]); {
		case there && (left == 0 || !t.renews):
			c.there = append(c.there, one)
		case there:
			one.Timeout = another(one.Timeout, t.timeouts[e])
		}
		t.timeouts[e] = one.Timeout
		if left > 0 {
			c.stay = append(c.stay, one)
		}
	}
	for name, c := range of {
		set := t.sets.named[name]
		add := func(e []nftables.SetElement) error { return batch.SetAddElements(set, e) }
		remove := func(e []nftables.SetElement) error { return batch.SetDeleteElements(set, e) }
		if err := errors.Join(inMessages(c.there, add), inMessages(c.there, remove), inMessages(c.stay, add)); err != nil {
			return err
		}
	}
	return t.commit(batch)
}

// another is a timeout in place of the last one. The kernel takes one that is
// the same, in ticks of its clock, for no change, and what ends does not begin
// anew.
func another(timeout, last time.Duration) time.Duration {
	if d := timeout - last; -MinTime < d && d < MinTime {
		return last + MinTime
	}
	return timeout
}

// put adds elements to a batch that makes their sets.
func (t *Table) put(batch *nftables.Conn, o outcome) error {
	of := map[string][]nftables.SetElement{}
	for e, left := range o {
		t.timeouts[e] = max(left, MinTime)
		of[e.set] = append(of[e.set], nftables.SetElement{Key: []byte(e.key), Timeout: t.timeouts[e]})
	}
	for name, all := range of {
		if err := inMessages(all, func(e []nftables.SetElement) error { return batch.SetAddElements(t.sets.named[name], e) }); err != nil {
			return err
		}
	}
	return nil
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

// tryRenewal tries whether the timeout of an element can be changed.
func (t *Table) tryRenewal() (bool, error) {
	batch, err := t.batch()
	if err != nil {
		return false, err
	}
	set := &nftables.Set{Table: table, Name: "trial", KeyType: nftables.TypeInetService, HasTimeout: true}
	if err := batch.AddSet(set, nil); err != nil {
		return false, err
	}
	const first, second = time.Hour, 2 * time.Hour
	for _, d := range []time.Duration{first, second} {
		if err := batch.SetAddElements(set, []nftables.SetElement{{Key: []byte{0, 1}, Timeout: d}}); err != nil {
			return false, err
		}
		if err := t.commit(batch); err != nil {
			return false, err
		}
	}
	elements, err := batch.GetSetElements(set)
	if err != nil {
		return false, explain(err)
	}
	batch.DelSet(set)
	return len(elements) == 1 && elements[0].Timeout == second, t.commit(batch)
}
