package helper

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
)

// Enforcer is the firewall, behind its holder, of all services that share it. It
// implements access.Enforcer. It may be called concurrently.
type Enforcer struct {
	client *Conn
	// ends are the services whose connections the holder has to end: those of
	// the others end by a rule of the firewall, or as the server's own.
	ends map[access.ServiceID]bool
	// carried are the services whose connections the kernel carries. Of an address
	// that stays let in, for another client, only the holder can end them.
	carried map[access.ServiceID]bool

	mu    sync.Mutex
	open  map[opened]time.Time // when the kernel closes it by itself, as clock.Monotonic has it
	links links
	owed  map[opened]bool // whose connections no holder could be told to end
	shut  bool
}

// Carry says for which services the kernel carries the connections. It is called
// before Apply.
func (e *Enforcer) Carry(ids ...access.ServiceID) {
	e.carried = make(map[access.ServiceID]bool, len(ids))
	for _, id := range ids {
		e.carried[id] = true
	}
}

// opened is what the firewall lets in: it knows of no zones.
type opened struct {
	service access.ServiceID
	prefix  netip.Prefix
}

// NewEnforcer returns the firewall, which is closed. The holder ends the
// connections of the services that are given: of others their end is not its
// concern.
func NewEnforcer(c *Conn, ends ...access.ServiceID) *Enforcer {
	e := &Enforcer{client: c, ends: make(map[access.ServiceID]bool, len(ends)), open: map[opened]time.Time{}, links: links{}, owed: map[opened]bool{}}
	for _, id := range ends {
		e.ends[id] = true
	}
	return e
}

// Apply implements access.Enforcer. What the kernel has closed by itself needs no
// word, but for what is connected. A lease goes by clock.Boot and the kernel by
// clock.Monotonic: after the host was suspended the kernel would still let in
// those whose lease is over, and is told.
func (e *Enforcer) Apply(changes []access.Change) []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return access.Failed(changes, access.ErrClosed)
	}
	asked := make([]access.Change, 0, len(changes))
	of := make([][]int, 0, len(changes)) // the places of each
	at := make(map[opened]int, len(changes))
	cut := make([]bool, 0, len(changes)) // by one of the links, if not by all
	undo := make([]func(), len(changes))
	var shared []access.Change // whose connections end, though the peer stays let in
	now, kernel := e.client.clock.Boot(), e.client.clock.Monotonic()
	for i, c := range changes {
		if c.Until.Sub(now) < time.Millisecond {
			c.Until = time.Time{} // it is over
		}
		c, undo[i] = e.links.put(c, now)
		j, again := at[key(c)] // by another link
		wanted := c.Cut || again && cut[j]
		if wanted && !c.Revokes() && e.carried[c.Service] { // let in for another client
			shared = append(shared, access.Change{Service: c.Service, Peer: c.Peer})
		}
		c.Cut = wanted && c.Revokes() && e.ends[c.Service]
		if c.Revokes() && !c.Cut && !again && !kernel.Before(e.open[key(c)]) {
			delete(e.open, key(c))
			continue
		}
		c.Soon = c.Soon && c.Revokes() && !c.Cut && !again && e.open[key(c)].Sub(kernel) > access.SoonTime
		if c.Soon {
			c.Until = now.Add(access.SoonTime) // the kernel closes it by itself
		}
		if again {
			asked[j], of[j], cut[j] = c, append(of[j], i), wanted
			continue
		}
		at[key(c)] = len(asked)
		asked, of, cut = append(asked, c), append(of, []int{i}), append(cut, wanted)
	}
	if len(asked) == 0 {
		return nil
	}
	if len(shared) > 0 {
		if err := e.client.disconnect(shared); err != nil {
			for _, c := range shared {
				e.owed[key(c)] = true
			}
		}
	}
	failed := e.client.apply(asked)
	var errs []error
	for i, c := range asked {
		switch {
		case failed != nil && c.Revokes() && !c.Cut && errors.Is(failed[i], ErrDead):
			delete(e.open, key(c)) // void already: whoever holds the firewall next closes it first
		case failed != nil && failed[i] != nil:
			if errs == nil {
				errs = make([]error, len(changes))
			}
			for _, place := range of[i] {
				errs[place] = failed[i]
				if !changes[place].Revokes() {
					undo[place]() // let in as it was before
				}
			}
			switch {
			case !c.Revokes() && !c.Soon:
			case errors.Is(failed[i], ErrDead):
				delete(e.open, key(c))
				e.owed[key(c)] = true
			default:
				// What cannot be closed alone is closed with everything: the holder
				// does that when it is given up.
				e.client.lost(fmt.Errorf("close the firewall for %s: %w", c.Peer, failed[i]))
			}
		case c.Revokes():
			delete(e.open, key(c))
		default:
			e.open[key(c)] = kernel.Add(c.Until.Sub(now))
		}
	}
	return errs
}

// Resume tells a holder that has just been found to end the connections that no
// holder could be told to end before.
func (e *Enforcer) Resume() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var changes, shared []access.Change
	for o := range e.owed {
		c := access.Change{Service: o.service, Peer: access.Peer{Prefix: o.prefix}, Cut: true}
		if _, again := e.open[o]; again {
			shared = append(shared, c) // a grant has come since: it stays
		} else {
			changes = append(changes, c)
		}
	}
	errs := e.client.apply(changes)
	for i, c := range changes {
		if errs == nil || !errors.Is(errs[i], ErrDead) {
			delete(e.owed, key(c))
		}
	}
	if err := e.client.disconnect(shared); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, c := range shared {
		delete(e.owed, key(c))
	}
	return errors.Join(errs...)
}

// Owes reports whether connections have ended for their clients, and live on: no
// holder could be told so far.
func (e *Enforcer) Owes() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.owed) > 0
}

// Close implements access.Enforcer. Connections live on that are not the
// server's own.
func (e *Enforcer) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shut = true
	var changes []access.Change
	for o := range e.open {
		changes = append(changes, access.Change{Service: o.service, Peer: access.Peer{Prefix: o.prefix}})
	}
	clear(e.open)
	failed := slices.DeleteFunc(e.client.apply(changes), func(err error) bool { return err == nil || errors.Is(err, ErrDead) })
	if len(failed) > 0 {
		return e.client.lost(fmt.Errorf("close the firewall: %w", failed[0]))
	}
	return nil
}

func key(c access.Change) opened { return opened{c.Service, c.Peer.Prefix} }

// links are the leases of link-local addresses, by their links. The firewall does
// not tell links apart: an address is let in until the last of its leases ends.
type links map[opened]map[string]time.Time

// put takes down a change, and returns it as the firewall has to have it, with
// what takes it back.
func (l links) put(c access.Change, now time.Time) (_ access.Change, undo func()) {
	zone := c.Peer.Zone
	if c.Peer.Zone = ""; zone == "" {
		return c, func() {}
	}
	k := key(c)
	before := l[k][zone]
	l.set(k, zone, c.Until)
	undo = func() { l.set(k, zone, before) }
	for z, until := range l[k] {
		switch {
		case !until.After(now):
			l.set(k, z, time.Time{})
		case until.After(c.Until):
			c.Until = until
		}
	}
	return c, undo
}

// set sets until when a link's lease lasts; zero: there is none.
func (l links) set(k opened, zone string, until time.Time) {
	switch {
	case !until.IsZero() && l[k] == nil:
		l[k] = map[string]time.Time{zone: until}
	case !until.IsZero():
		l[k][zone] = until
	default:
		if delete(l[k], zone); len(l[k]) == 0 {
			delete(l, k)
		}
	}
}
