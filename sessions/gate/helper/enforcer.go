package helper

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
)

// Enforcer is the firewall, behind the helper, of all services that share it. It
// implements access.Enforcer. It may be called concurrently.
type Enforcer struct {
	client *Client
	// ends are the services whose connections the helper has to end: those of
	// the others end by a rule of the firewall, or as the server's own.
	ends map[access.ServiceID]bool

	mu   sync.Mutex
	open map[opened]time.Time // when the kernel closes it by itself, as clock.Monotonic has it
	shut bool
}

// opened is what the firewall lets in: it knows of no zones.
type opened struct {
	service access.ServiceID
	prefix  netip.Prefix
}

// NewEnforcer returns the firewall, which is closed. The helper ends the
// connections of the services that are given: of others their end is not its
// concern.
func NewEnforcer(c *Client, ends ...access.ServiceID) *Enforcer {
	e := &Enforcer{client: c, ends: make(map[access.ServiceID]bool, len(ends)), open: map[opened]time.Time{}}
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
	of := make([]int, 0, len(changes)) // the place of each
	now, kernel := e.client.clock.Boot(), e.client.clock.Monotonic()
	for i, c := range changes {
		c.Peer.Zone = ""
		if c.Until.Sub(now) < time.Millisecond {
			c.Until = time.Time{} // it is over
		}
		c.Cut = c.Cut && c.Revokes() && e.ends[c.Service]
		if c.Revokes() && !c.Cut && !kernel.Before(e.open[key(c)]) {
			delete(e.open, key(c))
			continue
		}
		asked, of = append(asked, c), append(of, i)
	}
	if len(asked) == 0 {
		return nil
	}
	failed := e.client.apply(asked)
	var errs []error
	for i, c := range asked {
		switch {
		case failed != nil && failed[i] != nil:
			if errs == nil {
				errs = make([]error, len(changes))
			}
			errs[of[i]] = failed[i]
			if c.Revokes() {
				// What cannot be closed alone is closed with everything: the helper
				// does that when it is given up, and the server stops.
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
	failed := slices.DeleteFunc(e.client.apply(changes), func(err error) bool { return err == nil })
	if len(failed) > 0 {
		return e.client.lost(fmt.Errorf("close the firewall: %w", failed[0]))
	}
	return nil
}

func key(c access.Change) opened { return opened{c.Service, c.Peer.Prefix} }
