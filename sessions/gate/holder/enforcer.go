package holder

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Enforcer is the firewall, through its holder, of all services that share it.
// It implements access.Enforcer. It may be called concurrently.
type Enforcer struct {
	conn *Conn
	// cuts are the services whose connections the holder must end: those of
	// other services end by a rule of the firewall, or in the server.
	cuts map[access.ServiceID]bool
	// carried are the services whose connections the kernel forwards. If the
	// address stays admitted for another client, only the holder can end them.
	carried map[access.ServiceID]bool

	mu     sync.Mutex
	open   map[target]time.Time // when the kernel removes it by itself, by clock.Monotonic
	links  linkLeases
	owed   map[target]bool // whose connections must end, and no holder has been reached
	closed bool
}

// Carry sets the services whose connections the kernel forwards. It must be
// called before Apply.
func (e *Enforcer) Carry(ids ...access.ServiceID) {
	e.carried = make(map[access.ServiceID]bool, len(ids))
	for _, id := range ids {
		e.carried[id] = true
	}
}

// target is what the firewall admits: a prefix to a service, without a zone, and with
// an initial sequence number if the service requires one, or with the drawn port if
// its port rotates.
type target struct {
	service access.ServiceID
	prefix  netip.Prefix
	isn     wire.ISN
	port    uint16
}

func (t target) peer() access.Peer { return access.Peer{Prefix: t.prefix, ISN: t.isn, Port: t.port} }

// NewEnforcer returns the firewall, which is closed. The holder ends the
// connections of the given services, and does not end those of other services.
func NewEnforcer(c *Conn, cuts ...access.ServiceID) *Enforcer {
	e := &Enforcer{
		conn: c, cuts: make(map[access.ServiceID]bool, len(cuts)),
		open: map[target]time.Time{}, links: linkLeases{}, owed: map[target]bool{},
	}
	for _, id := range cuts {
		e.cuts[id] = true
	}
	return e
}

// Apply implements access.Enforcer. It sends no request for elements that the
// kernel has removed by itself, unless connections must end. A lease uses
// clock.Boot and the kernel uses clock.Monotonic: after the host was suspended,
// the kernel would still admit peers whose lease has ended, so Apply revokes them.
func (e *Enforcer) Apply(changes []access.Change) []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return access.Failed(changes, access.ErrClosed)
	}
	requested := make([]access.Change, 0, len(changes))
	places := make([][]int, 0, len(changes)) // of each requested change, in changes
	index := make(map[target]int, len(changes))
	cut := make([]bool, 0, len(changes)) // at least one of the links is cut
	undo := make([]func(), len(changes))
	var shared []access.Change // connections end, though the peer stays admitted
	now, kernel := e.conn.clock.Boot(), e.conn.clock.Monotonic()
	for i, c := range changes {
		if c.Until.Sub(now) < time.Millisecond {
			c.Until = time.Time{} // it has ended
		}
		c, undo[i] = e.links.record(c, now)
		j, merged := index[targetOf(c)] // with a change for another link
		cuts := c.Cut || merged && cut[j]
		if cuts && !c.Revokes() && e.carried[c.Service] { // admitted for another client
			shared = append(shared, access.Change{Service: c.Service, Peer: c.Peer})
		}
		c.Cut = cuts && c.Revokes() && e.cuts[c.Service]
		if c.Revokes() && !c.Cut && !merged && !kernel.Before(e.open[targetOf(c)]) {
			delete(e.open, targetOf(c))
			continue
		}
		c.Soon = c.Soon && c.Revokes() && !c.Cut && !merged && e.open[targetOf(c)].Sub(kernel) > access.SoonTime
		if c.Soon {
			c.Until = now.Add(access.SoonTime) // the kernel then removes it by itself
		}
		if merged {
			requested[j], places[j], cut[j] = c, append(places[j], i), cuts
			continue
		}
		index[targetOf(c)] = len(requested)
		requested, places, cut = append(requested, c), append(places, []int{i}), append(cut, cuts)
	}
	if len(requested) == 0 {
		return nil
	}
	if len(shared) > 0 {
		if err := e.conn.disconnect(shared); err != nil {
			for _, c := range shared {
				e.owed[targetOf(c)] = true
			}
		}
	}
	failed := e.conn.apply(requested)
	var errs []error
	for i, c := range requested {
		switch {
		case failed != nil && c.Revokes() && !c.Cut && errors.Is(failed[i], ErrDead):
			delete(e.open, targetOf(c)) // void already: the next holder begins by closing everything
		case failed != nil && failed[i] != nil:
			if errs == nil {
				errs = make([]error, len(changes))
			}
			for _, place := range places[i] {
				errs[place] = failed[i]
				if !changes[place].Revokes() {
					undo[place]() // admitted as before
				}
			}
			switch {
			case !c.Revokes() && !c.Soon:
			case errors.Is(failed[i], ErrDead), errors.Is(failed[i], ErrSilent) && !c.Soon && !kernel.Before(e.open[targetOf(c)]):
				// The kernel has closed it, or does so with the holder.
				delete(e.open, targetOf(c))
				e.owed[targetOf(c)] = true
			default:
				// If revoking one peer fails, give up the holder, which closes
				// everything, and ends no connection: the next one does.
				delete(e.open, targetOf(c))
				e.owed[targetOf(c)] = e.owed[targetOf(c)] || c.Cut
				e.conn.fail(fmt.Errorf("close the firewall for %s: %w", c.Peer, failed[i]))
			}
		case c.Revokes():
			delete(e.open, targetOf(c))
		default:
			e.open[targetOf(c)] = kernel.Add(c.Until.Sub(now))
		}
	}
	return errs
}

// Resume makes a new holder end the connections whose end no earlier holder has
// carried out.
func (e *Enforcer) Resume() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var changes, shared []access.Change
	for o := range e.owed {
		c := access.Change{Service: o.service, Peer: o.peer(), Cut: true}
		if _, granted := e.open[o]; granted {
			shared = append(shared, c) // granted again since: the lease stays
		} else {
			changes = append(changes, c)
		}
	}
	errs := e.conn.apply(changes)
	for i, c := range changes {
		if errs == nil || !errors.Is(errs[i], ErrDead) && !errors.Is(errs[i], ErrSilent) {
			delete(e.owed, targetOf(c))
		}
	}
	if err := e.conn.disconnect(shared); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, c := range shared {
		delete(e.owed, targetOf(c))
	}
	return errors.Join(errs...)
}

// Owes reports whether connections must still end: no holder has been reached
// so far.
func (e *Enforcer) Owes() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.owed) > 0
}

// Close implements access.Enforcer. Connections that are not the server's
// continue.
func (e *Enforcer) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	var changes []access.Change
	for o := range e.open {
		changes = append(changes, access.Change{Service: o.service, Peer: o.peer()})
	}
	clear(e.open)
	closed := func(err error) bool { return err == nil || errors.Is(err, ErrDead) }
	failed := slices.DeleteFunc(e.conn.apply(changes), closed)
	if len(failed) > 0 {
		return e.conn.fail(fmt.Errorf("close the firewall: %w", failed[0]))
	}
	return nil
}

func targetOf(c access.Change) target {
	return target{c.Service, c.Peer.Prefix, c.Peer.ISN, c.Peer.Port}
}

// linkLeases are the leases of link-local addresses, by their links. The
// firewall does not distinguish links: it admits an address until the last of
// its leases ends.
type linkLeases map[target]map[string]time.Time

// record records a change, and returns it in the form for the firewall, with a
// function that undoes the record.
func (l linkLeases) record(c access.Change, now time.Time) (_ access.Change, undo func()) {
	zone := c.Peer.Zone
	if c.Peer.Zone = ""; zone == "" {
		return c, func() {}
	}
	k := targetOf(c)
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

// set sets the end of a link's lease; zero: there is none.
func (l linkLeases) set(k target, zone string, until time.Time) {
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
