package firewall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Repair says what was wrong with the table, and what came of it.
type Repair struct {
	Fault Fault
	Cut   int           // connections that were made meanwhile, without a grant, and have ended
	Took  time.Duration // until the table was there again, with what was granted
	Err   error         // what has failed: Keep tries again
}

// Fault is what somebody else has done to the table.
type Fault string

// The faults. None is the zero value.
const (
	Removed  Fault = "removed"
	Replaced Fault = "replaced" // by another table, or a saved copy
	Changed  Fault = "changed"  // rules, chains or sets
	Elements Fault = "elements" // of sets: some are missing, or nobody granted them
	Lacking  Fault = "lacking"  // of what was granted, since the kernel refused it before
)

// Restore makes the table anew if somebody has removed or changed it, as "nft
// flush ruleset" does, with what was granted and takes knocks. It reports what
// was wrong: nothing, if Fault is empty. Until then the ports were open. A table
// that another owner has claimed meanwhile stays, with an *OwnedError.
func (t *Table) Restore() (Repair, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, err := t.restore()
	if before := t.untold; before.Fault != "" {
		t.untold = Repair{}
		before.Cut, before.Err = before.Cut+r.Cut, r.Err
		return before, err
	}
	return r, err
}

// restore is Restore. The caller holds the lock.
func (t *Table) restore() (Repair, error) {
	fault, c, err := t.fault()
	if err != nil || fault == "" {
		return Repair{}, err
	}
	return t.repair(fault, c)
}

// repair mends a fault of a table, as it has been read.
func (t *Table) repair(fault Fault, c content) (Repair, error) {
	start := time.Now()
	r := Repair{Fault: fault}
	gap := fault != Lacking && fault != Elements
	if fault != Lacking {
		if err := t.remake(gap, c); err != nil {
			return Repair{}, err
		}
	}
	r.Err = t.complete()
	r.Took = time.Since(start)
	if gap {
		cut, err := t.cut()
		r.Cut, r.Err = cut, errors.Join(r.Err, err)
	}
	return r, nil
}

// settle is how long after a gap UDP that leaves a guarded port may be the
// answer to a stranger who asked in the gap, which conntrack has not seen.
const settle = 10 * time.Second

// remake makes the table anew, with as much of what is open as a transaction
// has room for. The rest is for complete.
func (t *Table) remake(gap bool, c content) error {
	t.ends, t.incomplete = map[element]time.Time{}, true
	now := t.clock.Monotonic()
	if gap && t.can.labels {
		for _, p := range t.cfg.Ports {
			if p.Protocol == UDP && !p.judgesReplies() {
				t.open[p.settling()] = now.Add(settle + slack)
			}
		}
	}
	o, all := outcome{}, true
	for e, end := range t.open {
		if left := end.Sub(now) - slack; left <= 0 {
			continue
		} else if len(o) == MaxChanges {
			all = false
		} else {
			o[e] = left
		}
	}
	err := t.make(o, c)
	if err == nil || errors.Is(err, unix.EPERM) {
		t.remember(o, err == nil)
		t.incomplete = err != nil || !all
		return err
	}
	// The kernel refuses some element: the table comes first.
	return t.make(nil, c)
}

// complete grants again what is open, if not all of it is there.
func (t *Table) complete() error {
	if !t.incomplete {
		return nil
	}
	now := t.clock.Monotonic()
	for some := range slices.Chunk(slices.Collect(maps.Keys(t.open)), MaxChanges) {
		o := outcome{}
		for _, e := range some {
			if left := t.open[e].Sub(now) - slack; left > 0 {
				o[e] = left
			}
		}
		if len(o) == 0 {
			continue
		}
		err := t.apply(o)
		t.remember(o, err == nil)
		if err != nil {
			return fmt.Errorf("grant again what was granted: %w", err)
		}
	}
	t.incomplete = false
	return nil
}

// fault looks at the table, and says what is wrong with it, and what it is.
// Somebody who changes it during the look makes Keep look again.
func (t *Table) fault() (Fault, content, error) {
	if t.lost != nil {
		return "", content{}, t.lost
	}
	c, err := read()
	if err != nil {
		return "", content{}, err
	}
	if c.identity() == t.identity {
		switch same, err := t.elementsAsMade(); {
		case errors.Is(err, unix.ENOENT):
			return Removed, content{}, nil // at this instant
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
	if s.Kind == Owned && s.newer(t.made) {
		t.lost = &OwnedError{Owned, s.Owner}
		return "", c, t.lost
	}
	m, _ := c.mark()
	switch {
	case s.Kind == Absent:
		return Removed, c, nil
	case m != t.mark() || s.digest == t.digest:
		return Replaced, c, nil
	}
	return Changed, c, nil
}

// newer reports whether another process has made the table after a time, and not
// loaded a copy.
func (s Standing) newer(than stamp) bool {
	now := stampNow()
	return s.made.boot == now.boot && s.made.boot == than.boot && s.made.at > than.at && s.made.at <= now.at
}

// elementsAsMade reports whether the sets have what they are to have.
func (t *Table) elementsAsMade() (bool, error) {
	batch, err := newBatch()
	if err != nil {
		return false, err
	}
	there := map[element]bool{}
	for _, set := range t.sets.timed() {
		elements, err := batch.GetSetElements(set)
		if err != nil {
			return false, fmt.Errorf("list the set %s: %w", set.Name, explain(err))
		}
		now := t.clock.Monotonic()
		for _, found := range elements {
			e := element{set.Name, string(found.Key)}
			there[e] = true
			if found.Timeout == 0 || now.Add(found.Expires).After(t.ends[e].Add(slack)) {
				return false, nil // nobody granted it, or not for so long
			}
		}
	}
	if t.incomplete {
		return true, nil
	}
	now := t.clock.Monotonic()
	for e, end := range t.open {
		if !there[e] && now.Add(2*slack).Before(end) {
			return false, nil
		}
	}
	return true, nil
}
