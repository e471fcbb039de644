package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// carriedPause is the time between two looks at what the kernel carries.
const carriedPause = time.Minute

// addressRecord is the part of the state file that says which addresses clients had.
type addressRecord interface {
	RecordLeases([]sessions.Entry, []state.Lease) (displaced []state.Lease, err error)
	Leases() []state.Lease
	Forget([]state.Lease) error
}

// carried is which addresses clients had at services whose connections the kernel
// carries: the client of such a connection is known by nothing but its address. An
// address is recorded before it is let in, and kept, over restarts too, for as
// long as something is connected from there. Its methods may be called
// concurrently.
type carried struct {
	record addressRecord
	boot   func() time.Time
	wall   func() time.Time

	mu       sync.Mutex
	services map[access.ServiceID]lends
	open     map[address]time.Time // until when a lease may last, by clock.Boot
}

// lends is what of a service's terms counts here.
type lends struct {
	prefixLen6 int
	openMax    time.Duration
}

// address is one that a client had at a service.
type address struct {
	client  wire.Identifier
	service access.ServiceID
	peer    access.Peer
}

func (a address) lease() state.Lease {
	return state.Lease{Client: a.client, Service: a.service, Peer: a.peer}
}

func addressOf(l state.Lease) address { return address{l.Client, l.Service, l.Peer} }

func newCarried(r addressRecord, boot, wall func() time.Time) *carried {
	c := &carried{record: r, boot: boot, wall: wall, services: map[access.ServiceID]lends{}, open: map[address]time.Time{}}
	for _, l := range r.Leases() {
		c.open[addressOf(l)] = time.Time{} // no lease is in force after a start
	}
	return c
}

// lend says that a service's connections are carried by the kernel, and for how
// long it opens at the most.
func (c *carried) lend(id access.ServiceID, prefixLen6 int, openMax time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[id] = lends{prefixLen6, openMax}
}

// admit records the addresses that grants are about to let in, as far as they are
// not recorded. Addresses that had to give way are no longer recorded, also after
// an error: their connections have to end. After an error nothing may be let in.
func (c *carried) admit(grants []sessions.Grant, may func(wire.Identifier, access.ServiceID) bool) (displaced []state.Lease, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.boot()
	var fresh []state.Lease
	for id, s := range c.services {
		for _, g := range grants {
			a := address{g.Identifier, id, access.PeerOf(g.Address, s.prefixLen6)}
			if !a.peer.IsValid() || !may(a.client, id) {
				continue
			}
			if _, known := c.open[a]; !known {
				l := a.lease()
				l.Until = c.wall().Add(s.openMax)
				fresh = append(fresh, l)
			}
			c.open[a] = now.Add(s.openMax)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	displaced, err = c.record.RecordLeases(nil, fresh)
	if err != nil {
		for _, l := range fresh {
			delete(c.open, addressOf(l))
		}
	}
	for _, l := range displaced {
		delete(c.open, addressOf(l))
	}
	return displaced, err
}

// past returns the addresses that clients had at a service who do not stay, and
// have no lease there from now on.
func (c *carried) past(id access.ServiceID, stays func(wire.Identifier) bool) (peers []access.Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.open {
		if a.service == id && !stays(a.client) {
			peers = append(peers, a.peer)
			c.open[a] = time.Time{}
		}
	}
	return peers
}

// holders adds the clients that had addresses.
func (c *carried) holders(all map[wire.Identifier]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.open {
		all[a.client] = true
	}
}

// idle returns the addresses for which no lease can be in force.
func (c *carried) idle() (idle []address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.boot()
	for a, until := range c.open {
		if !now.Before(until) {
			idle = append(idle, a)
		}
	}
	return idle
}

// forget gives up addresses from which nothing was connected at a look, but for
// those that have been let in again since it began.
func (c *carried) forget(gone []address, looked time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var leases []state.Lease
	for _, a := range gone {
		if until, ok := c.open[a]; ok && !looked.Before(until) {
			delete(c.open, a)
			leases = append(leases, a.lease())
		}
	}
	return c.record.Forget(leases)
}

// look has what is connected end if its client has lost its right, or was lost
// while no server ran, and gives up addresses from which nothing is connected.
func (c *carried) look(ctx context.Context, g *gate.Services, entitled func(address) bool, connected func(context.Context, []access.Change) ([]bool, error)) error {
	looked, idle := c.boot(), c.idle()
	gone := map[access.ServiceID][]access.Peer{}
	changes := make([]access.Change, len(idle))
	for i, a := range idle {
		if !entitled(a) {
			gone[a.service] = append(gone[a.service], a.peer)
		}
		changes[i] = access.Change{Service: a.service, Peer: access.Peer{Prefix: a.peer.Prefix}}
	}
	for id, peers := range gone {
		g.Disconnect(id, peers)
	}
	is, err := connected(ctx, changes)
	if err != nil {
		return err
	}
	var over []address
	for i, a := range idle {
		if !is[i] {
			over = append(over, a)
		}
	}
	return c.forget(over, looked)
}

// watchCarried looks at what the kernel carries, at once and then from time to
// time, until ctx ends.
func (s *Server) watchCarried(ctx context.Context) {
	for failed := false; ; {
		err := s.carried.look(ctx, s.gate.Services, s.entitled, s.helper.Connected)
		if err != nil && !failed && ctx.Err() == nil {
			s.env.Log.Warn("failed to list firewalled connections; keeping addresses", "error", err)
		}
		failed = err != nil
		select {
		case <-time.After(carriedPause):
		case <-ctx.Done():
			return
		}
	}
}

// entitled reports whether a client may have an address at a service: it is one,
// or waits, and has the right to it.
func (s *Server) entitled(a address) bool {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	if ownerless(a.client) {
		return s.challenge.opensOwnerless(a.service)
	}
	_, is := s.reloads.table.Secrets(a.client)
	return s.reloads.missing.has(a.client) || is && s.gate.May(a.client, a.service)
}

// admit records the addresses of grants before they are let in. What has to give
// way to them is cut: an address is recorded while something may be connected from
// there.
func (s *Server) admit(grants []sessions.Grant) error {
	displaced, err := s.carried.admit(grants, s.gate.May)
	for _, l := range displaced {
		s.gate.Displace(l.Service, l.Client, l.Peer)
	}
	if err != nil {
		return fmt.Errorf("record the address: %w", err)
	}
	return nil
}
