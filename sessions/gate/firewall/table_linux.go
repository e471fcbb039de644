package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Table is the table as Claim made it, and nobody has changed since. Its
// methods may be called concurrently; one transaction runs at a time. Once
// Clear has removed the table they fail.
type Table struct {
	cfg  Config
	sets sets
	// renews: adding an element that is there changes its timeout, as it does
	// since Linux 6.12.
	renews bool

	mu    sync.Mutex
	ends  map[element]time.Time // when what was opened ends at the latest
	prune time.Time             // when to forget what has ended
}

// element is one of a set.
type element struct {
	set *nftables.Set
	key string
}

// Kind is what a Change does.
type Kind uint8

// The kinds.
const (
	Open  Kind = iota + 1 // let an address in for a time
	Close                 // let it in no more
	Knock                 // a UDP port takes knocks for a time
)

// Change is one thing that Apply does.
type Change struct {
	Kind    Kind
	Port    int           // of Open and Close the index in Config.Ports; of Knock the UDP port
	Address netip.Addr    // of Open and Close; zero: every address. A zone does not count
	For     time.Duration // of Open and Knock: from now, in whole milliseconds, above 0
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

// Apply carries out changes in one transaction: all, or if it fails, none. Of
// several to one thing the last counts. Afterwards exactly the time asked for
// is left, whatever was before; and what was open has not been closed for an
// instant.
func (t *Table) Apply(changes []Change) error {
	if len(changes) > MaxChanges {
		return fmt.Errorf("change the firewall: %d changes in one transaction, where %d are the most", len(changes), MaxChanges)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	last := outcome{}
	for _, c := range changes {
		set, key, err := t.element(c)
		if err != nil {
			return fmt.Errorf("change the firewall: %w", err)
		}
		last[element{set, string(key)}] = c.left()
	}
	var err error
	for range attempts {
		if err = t.apply(last, time.Now()); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	// After an error it may be there all the same, if only the answer was lost.
	t.remember(last, time.Now(), err == nil)
	if err != nil {
		return fmt.Errorf("change the firewall: %w", err)
	}
	return nil
}

// remember takes down what is there, or may be, for as long as it lasts.
func (t *Table) remember(o outcome, now time.Time, certain bool) {
	for e, left := range o {
		switch end := now.Add(left + slack); {
		case left > 0 && (certain || end.After(t.ends[e])):
			t.ends[e] = end
		case left == 0 && certain:
			delete(t.ends, e)
		}
	}
	if now.After(t.prune) {
		maps.DeleteFunc(t.ends, func(_ element, end time.Time) bool { return now.After(end) })
		t.prune = now.Add(pruneEvery)
	}
}

// left is the time that is left after the change.
func (c Change) left() time.Duration {
	if c.Kind == Close {
		return 0
	}
	return max(c.For, MinTime)
}

// element returns what a change is about.
func (t *Table) element(c Change) (*nftables.Set, []byte, error) {
	switch {
	case c.Kind < Open || c.Kind > Knock:
		return nil, nil, fmt.Errorf("a change of kind %d", c.Kind)
	case c.Kind != Close && c.For <= 0:
		return nil, nil, fmt.Errorf("port %d is to be open for %s", c.Port, c.For)
	case c.Kind == Knock:
		if c.Port < 1 || c.Port > 1<<16-1 || t.cfg.guards(uint16(c.Port)) {
			return nil, nil, fmt.Errorf("UDP port %d cannot take knocks", c.Port)
		}
		return t.sets.knock, binary.BigEndian.AppendUint16(nil, uint16(c.Port)), nil
	case c.Port < 0 || c.Port >= len(t.cfg.Ports):
		return nil, nil, fmt.Errorf("there is no port %d among %d guarded ones", c.Port, len(t.cfg.Ports))
	}
	set, key := t.sets.grant(t.cfg.Ports[c.Port], c.Address)
	return set, key, nil
}

// outcome is the time that elements are to have left; 0: they are gone.
type outcome map[element]time.Duration

// apply makes it so. What is not there is added. What is there is added again,
// where that changes its timeout; elsewhere it is added, since it may have
// ended and to remove what is not there fails, removed, and added anew: packets
// see only the end of that. A removal is dear: the kernel has the transaction
// after it wait until no packet can see any more what was removed.
func (t *Table) apply(o outcome, now time.Time) error {
	batch, err := newBatch()
	if err != nil {
		return err
	}
	type changes struct{ there, stay []nftables.SetElement }
	of := map[*nftables.Set]*changes{}
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
	for set, c := range of {
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
