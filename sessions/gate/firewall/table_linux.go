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
// be called concurrently; one transaction runs at a time. A method that finds
// the table removed first makes it again, because the ports must not stay open.
// Keep makes it again after every change of another program.
type Table struct {
	cfg   Config
	owner Owner
	clock clock.Clock
	ports map[access.ServiceID]portSets
	sets  sets
	can   abilities
	// canUpdateTimeout: adding an existing element changes its timeout, as it
	// does since Linux 6.12.
	canUpdateTimeout bool
	digest           string // of the table's content
	strangers        int    // connections that Claim ended

	pending pendingTransactions // transactions of which Keep has not received the events

	mu sync.Mutex
	// When elements end, by clock.Monotonic. latestEnd has every element that
	// may exist, with the latest time at which it ends. confirmed has the
	// elements that the kernel has confirmed and that were not revoked since:
	// if the table is made again, it gets these.
	latestEnd, confirmed map[element]time.Time
	timeouts             targets   // that the kernel got last
	nextPrune            time.Time // when to delete ended elements from the maps
	incomplete           bool      // the table was made again, and lacks some of confirmed
	identity             string    // of the table that was made last
	made                 stamp     // when
	unreported           Repair    // by a method that found the table removed; Keep reports it
	lostError            error     // set if another owner has claimed the table
	jump                 jumpState
	earlier              map[flowKey]bool // connections that began by a grant before Claim
	// trialGiven is the time that the elements of trials were given, by their sets.
	trialGiven map[string]time.Duration
}

// element identifies an element of a set.
type element struct {
	set string // its name: a restored table has other sets
	key string
}

const (
	// MaxChanges is the number of changes that one transaction has room for.
	MaxChanges = 1024
	// MinTime replaces shorter times. A kernel may interpret less than a tick
	// of its clock as no timeout.
	MinTime = 10 * time.Millisecond
	// slack is how much longer than its time an element may exist: it ends by
	// the kernel's clock, which has ticks.
	slack = time.Second
	// pruneEvery is the time between two deletions of ended elements.
	pruneEvery = 10 * time.Second
	// elementsPerMessage is the number of elements that fit into an attribute
	// of 64 KiB.
	elementsPerMessage = 512
	// attempts is how often a transaction is tried if the end of an element
	// disturbs it.
	attempts = 4
)

// Apply implements access.Enforcer. One transaction carries out at most
// MaxChanges, and Apply splits it if it fails. Afterwards each element has
// exactly the requested time left, whatever it had before, and no element was
// removed for an instant in between. Apply ignores Cut: see Disconnect.
func (t *Table) Apply(changes []access.Change) []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := make([]error, 0, len(changes))
	failed := false
	for chunk := range slices.Chunk(changes, MaxChanges) {
		for _, err := range t.applySome(chunk) {
			failed = failed || err != nil
			errs = append(errs, err)
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// applySome is Apply for at most MaxChanges. It always returns an entry, an
// error or nil, for each change.
func (t *Table) applySome(changes []access.Change) []error {
	errs := make([]error, len(changes))
	now := t.clock.Boot()
	last := make(targets, len(changes)) // the last of several changes to one element counts
	elements := make([]element, len(changes))
	used := make([]element, len(changes)) // of drawn ports on which the server listens
	for i, c := range changes {
		sets, ok := t.ports[c.Service]
		if ok && !sets.admits(c) {
			errs[i] = fmt.Errorf("change the firewall: service %s, of which a grant must have an initial sequence number: %t, and %d bits of an IPv4 address", c.Service, sets.isn4 != nil, sets.prefixLen4)
			continue
		}
		if !ok || !c.Peer.IsValid() {
			errs[i] = fmt.Errorf(
				"change the firewall: expected a guarded service and a peer, got service %s and peer %s",
				c.Service, c.Peer)
			continue
		}
		if !c.Revokes() && (sets.drawn != nil || c.Peer.Port != 0) {
			if err := t.cfg.checkDrawn(t.portOf(c.Service), c.Peer.Port); err != nil {
				errs[i] = fmt.Errorf("change the firewall: %w", err)
				continue
			}
		}
		elements[i] = sets.grant(c.Peer)
		last[elements[i]] = 0
		if c.Revokes() {
			continue
		}
		last[elements[i]] = max(c.Until.Sub(now), MinTime)
		if sets.drawn != nil && sets.drawn.used != nil {
			used[i] = t.use(last, sets.drawn, c.Peer.Port, last[elements[i]])
		}
	}
	failed := t.applySplit(last)
	for i, e := range elements {
		if err := errors.Join(failed[e], failed[used[i]]); err != nil {
			errs[i] = fmt.Errorf("change the firewall: %w", err)
		}
	}
	return errs
}

// OpenKnockPorts opens UDP ports for knocks for d from now, in whole
// milliseconds above 0, with one transaction per MaxChanges ports.
func (t *Table) OpenKnockPorts(ports []uint16, d time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for chunk := range slices.Chunk(ports, MaxChanges) {
		want := make(targets, len(chunk))
		for _, p := range chunk {
			if d <= 0 || p == 0 || t.cfg.guards(p) {
				return fmt.Errorf("open the knock ports: cannot open UDP port %d for %s", p, d)
			}
			want[element{knockSet, string(binary.BigEndian.AppendUint16(nil, p))}] = max(d, MinTime)
		}
		if err := t.applyOrRestore(want); err != nil {
			return fmt.Errorf("open the knock ports: %w", err)
		}
	}
	return nil
}

// record records which elements exist, or may exist, and until when.
func (t *Table) record(want targets, certain bool) {
	now := t.clock.Monotonic()
	for e, left := range want {
		end := now.Add(left + slack)
		switch {
		case left == 0:
			delete(t.confirmed, e)
			if certain {
				delete(t.latestEnd, e)
			}
		case certain:
			t.latestEnd[e], t.confirmed[e] = end, end
		case end.After(t.latestEnd[e]):
			t.latestEnd[e] = end
		}
	}
	if now.After(t.nextPrune) {
		ended := func(_ element, end time.Time) bool { return now.After(end) }
		maps.DeleteFunc(t.latestEnd, ended)
		maps.DeleteFunc(t.confirmed, ended)
		maps.DeleteFunc(t.timeouts, func(e element, _ time.Duration) bool { return t.latestEnd[e].IsZero() })
		t.nextPrune = now.Add(pruneEvery)
	}
}

// targets has the time that elements must have left; 0: they must not exist.
type targets map[element]time.Duration

// apply carries out want. It adds elements that do not exist. It adds existing
// ones again, if that changes their timeout. Otherwise it adds such an element
// (because it may have ended, and removing a missing element fails), removes
// it, and adds it with the new timeout: packets see only the result. A removal
// is expensive: the kernel delays the next transaction until no packet can
// still see the removed element.
func (t *Table) apply(want targets) error {
	now := t.clock.Monotonic()
	batch, err := t.batch()
	if err != nil {
		return err
	}
	type changes struct{ remove, add []nftables.SetElement }
	bySet := map[string]*changes{}
	for e, left := range want {
		c := bySet[e.set]
		if c == nil {
			c = new(changes)
			bySet[e.set] = c
		}
		added := nftables.SetElement{Key: []byte(e.key), Timeout: max(left, MinTime)}
		switch exists := now.Before(t.latestEnd[e]); {
		case exists && (left == 0 || !t.canUpdateTimeout):
			c.remove = append(c.remove, added)
		case exists:
			added.Timeout = differentTimeout(added.Timeout, t.timeouts[e])
		}
		t.timeouts[e] = added.Timeout
		if left > 0 {
			c.add = append(c.add, added)
		}
	}
	for name, c := range bySet {
		set := t.sets.named[name]
		add := func(e []nftables.SetElement) error { return batch.SetAddElements(set, e) }
		remove := func(e []nftables.SetElement) error { return batch.SetDeleteElements(set, e) }
		err := errors.Join(inMessages(c.remove, add), inMessages(c.remove, remove), inMessages(c.add, add))
		if err != nil {
			return err
		}
	}
	return t.commit(batch)
}

// differentTimeout returns a timeout that differs from the last one. If it were
// equal, in ticks of the kernel's clock, the kernel would change nothing, and
// the element would end at its old time.
func differentTimeout(timeout, last time.Duration) time.Duration {
	if d := timeout - last; -MinTime < d && d < MinTime {
		return last + MinTime
	}
	return timeout
}

// addElements adds elements to a batch that makes their sets.
func (t *Table) addElements(batch *nftables.Conn, want targets) error {
	bySet := map[string][]nftables.SetElement{}
	for e, left := range want {
		t.timeouts[e] = max(left, MinTime)
		bySet[e.set] = append(bySet[e.set], nftables.SetElement{Key: []byte(e.key), Timeout: t.timeouts[e]})
	}
	for name, all := range bySet {
		add := func(e []nftables.SetElement) error { return batch.SetAddElements(t.sets.named[name], e) }
		if err := inMessages(all, add); err != nil {
			return err
		}
	}
	return nil
}

// inMessages calls f with as many elements at a time as fit into a message.
func inMessages(elements []nftables.SetElement, f func([]nftables.SetElement) error) error {
	for chunk := range slices.Chunk(elements, elementsPerMessage) {
		if err := f(chunk); err != nil {
			return err
		}
	}
	return nil
}

// tryUpdateTimeout tests whether the timeout of an element can be changed.
func (t *Table) tryUpdateTimeout() (bool, error) {
	batch, err := t.batch()
	if err != nil {
		return false, err
	}
	set := &nftables.Set{Table: table, Name: probeSet, KeyType: nftables.TypeInetService, HasTimeout: true}
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
	elements, err := elementsOf(batch, set)
	if err != nil {
		return false, err
	}
	batch.DelSet(set)
	return len(elements) == 1 && elements[0].Timeout == second, t.commit(batch)
}
