package firewall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Repair reports a fault of the table, and its repair.
type Repair struct {
	Fault Fault
	Cut   int           // ungranted connections made during the fault, which have ended
	Took  time.Duration // until the table and its grants were restored
	Jumps Jumps         // also without a fault
	Err   error         // the first attempt failed: Keep retries
}

// Fault is a difference of the table from what it should be, usually a change
// by another program.
type Fault string

// The faults. None is the zero value.
const (
	Removed  Fault = "removed"
	Replaced Fault = "replaced" // by another table, or a saved copy
	Changed  Fault = "changed"  // rules, chains or sets
	Elements Fault = "elements" // of sets: some are missing, or were never granted
	Lacking  Fault = "lacking"  // some grants are missing, because the kernel refused them before
)

// Restore makes the table again if another program has removed or changed it,
// as "nft flush ruleset" does, with the grants and the knock ports that were
// open. It reports the fault; an empty Fault means that the table was intact.
// Until then the ports were open. If another owner has claimed the table, it
// stays, and Restore returns an *OwnedError.
func (t *Table) Restore() (Repair, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, err := t.restore()
	if before := t.unreported; before.Fault != "" {
		t.unreported = Repair{}
		before.Cut, before.Err = before.Cut+r.Cut, r.Err
		r = before
	}
	r.Jumps = t.takeJumps()
	return r, err
}

// restore is Restore. The caller holds the lock.
func (t *Table) restore() (Repair, error) {
	fault, c, err := t.findFault()
	if err != nil {
		return Repair{}, err
	}
	if fault == "" {
		return Repair{}, t.lookAtJumps(c)
	}
	return t.repair(fault, c)
}

// repair repairs a fault of a table, of which c is the content.
func (t *Table) repair(fault Fault, c content) (Repair, error) {
	start := time.Now()
	r := Repair{Fault: fault}
	gap := fault != Lacking && fault != Elements
	if fault != Lacking {
		if err := t.recreate(gap, c); err != nil {
			return Repair{}, err
		}
	}
	r.Err = t.addMissing()
	r.Took = time.Since(start)
	if gap {
		cut, err := t.endUngranted()
		r.Cut, r.Err = cut, errors.Join(r.Err, err)
	}
	return r, nil
}

// settlingTime is the time after a gap in which UDP that leaves a guarded port
// may be the answer to a stranger's datagram of the gap, which conntrack has
// not tracked.
const settlingTime = 10 * time.Second

// recreate makes the table again, with at most MaxChanges of the confirmed
// elements. addMissing adds the rest.
func (t *Table) recreate(gap bool, c content) error {
	t.latestEnd, t.incomplete = map[element]time.Time{}, true
	now := t.clock.Monotonic()
	if gap && t.can.labels {
		for _, p := range t.cfg.Ports {
			if p.Protocol == UDP && !p.filtersReplies() {
				for _, e := range p.settling() {
					t.confirmed[e] = now.Add(settlingTime + slack)
				}
			}
		}
	}
	if t.jump.refused != nil && c.operatorSum() != t.jump.at { // the jumps may be possible now
		if err := t.createFirst(nil); err != nil {
			return err
		}
		before := c
		var err error
		if c, err = read(); err != nil {
			return err
		}
		t.replaced(before, c)
	}
	want, all := t.openElements()
	err := t.create(want, c)
	if err == nil || errors.Is(err, unix.EPERM) {
		t.record(want, err == nil)
		t.incomplete = err != nil || !all
		return err
	}
	// The kernel refuses an element: restore the table first.
	if err = t.create(nil, c); err == nil || !t.hasJump() {
		return err
	}
	// Or it refuses the jump to the operator's chains.
	if err := t.createFirst(nil); err != nil {
		return err
	}
	if c, err = read(); err != nil {
		return err
	}
	return t.create(nil, c)
}

// openElements returns at most MaxChanges of the confirmed elements, and whether
// these are all.
func (t *Table) openElements() (want targets, all bool) {
	now := t.clock.Monotonic()
	want, all = targets{}, true
	for e, end := range t.confirmed {
		if left := end.Sub(now) - slack; left <= 0 {
			continue
		} else if len(want) == MaxChanges {
			all = false
		} else {
			want[e] = left
		}
	}
	return want, all
}

// addMissing adds the confirmed elements again, if some are missing.
func (t *Table) addMissing() error {
	if !t.incomplete {
		return nil
	}
	now := t.clock.Monotonic()
	for chunk := range slices.Chunk(slices.Collect(maps.Keys(t.confirmed)), MaxChanges) {
		want := targets{}
		for _, e := range chunk {
			if left := t.confirmed[e].Sub(now) - slack; left > 0 {
				want[e] = left
			}
		}
		if len(want) == 0 {
			continue
		}
		err := t.apply(want)
		t.record(want, err == nil)
		if err != nil {
			return fmt.Errorf("restore earlier grants: %w", err)
		}
	}
	t.incomplete = false
	return nil
}

// findFault reads the table, and returns its fault and its content. A change
// during the read causes an event, after which Keep reads it again.
func (t *Table) findFault() (Fault, content, error) {
	if t.lostError != nil {
		return "", content{}, t.lostError
	}
	c, err := read()
	if err != nil {
		return "", content{}, err
	}
	if c.identity() == t.identity {
		switch same, err := t.elementsIntact(); {
		case errors.Is(err, unix.ENOENT):
			return Removed, content{}, nil // removed after the first read
		case err != nil:
			return "", c, err
		case !same:
			return Elements, c, nil
		case t.incomplete:
			return Lacking, c, nil
		}
		return "", c, nil
	}
	s := c.standing()
	if s.Kind == Owned && s.claimedAfter(t.made) {
		t.lostError = &OwnedError{Owned, s.Owner}
		return "", c, t.lostError
	}
	m, _ := c.ownership()
	switch {
	case s.Kind == Absent:
		return Removed, c, nil
	case m != t.ownership() || s.digest == t.digest:
		return Replaced, c, nil
	}
	return Changed, c, nil
}

// claimedAfter reports whether another process made the table after a time. It
// is false for a loaded copy.
func (s Standing) claimedAfter(than stamp) bool {
	now := stampNow()
	return s.made.boot == now.boot && s.made.boot == than.boot && s.made.at > than.at && s.made.at <= now.at
}

// elementsIntact reports whether the sets contain the expected elements.
func (t *Table) elementsIntact() (bool, error) {
	batch, err := newBatch()
	if err != nil {
		return false, err
	}
	there := map[element]bool{}
	for _, set := range t.sets.withTimeouts() {
		elements, err := elementsOf(batch, set)
		if err != nil {
			return false, err
		}
		if isTrial(set.Name) {
			if !t.trialIntact(set.Name, elements) {
				return false, nil
			}
			continue
		}
		now := t.clock.Monotonic()
		for _, found := range elements {
			e := element{set.Name, string(found.Key)}
			there[e] = true
			if isUsed(set.Name) {
				continue // packets of flows renew it, and it lets nothing in
			}
			if found.Timeout == 0 || now.Add(found.Expires).After(t.latestEnd[e].Add(slack)) {
				return false, nil // not granted, or not for so long
			}
		}
	}
	if t.incomplete {
		return true, nil
	}
	now := t.clock.Monotonic()
	for e, end := range t.confirmed {
		if !there[e] && now.Add(2*slack).Before(end) {
			return false, nil
		}
	}
	return true, nil
}
