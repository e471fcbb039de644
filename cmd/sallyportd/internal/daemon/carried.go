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

// carriedInterval is the time between two checks of the connections that the
// kernel forwards.
const carriedInterval = time.Minute

// addressRecord is the part of the state file with the addresses that clients had.
type addressRecord interface {
	RecordLeases([]sessions.Entry, []state.Lease) (displaced []state.Lease, err error)
	Leases() []state.Lease
	Forget([]state.Lease) error
}

// carried records which addresses clients had at services whose connections the
// kernel forwards: only the address shows to which client such a connection
// belongs. An address is recorded before it is let in, and kept, also over
// restarts, as long as something is connected from there. Its methods may be called
// concurrently.
type carried struct {
	record addressRecord
	boot   func() time.Time
	wall   func() time.Time

	mu          sync.Mutex
	services    map[access.ServiceID]carriedService
	open        map[address]time.Time // until when a lease may last, by clock.Boot
	untilClosed map[address]bool      // recorded so that other addresses do not displace it
}

// carriedService is the part of a service's terms that matters here.
type carriedService struct {
	prefixLen4 int
	prefixLen6 int
	openMax    time.Duration
}

// address is an address that a client had at a service.
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
	c := &carried{record: r, boot: boot, wall: wall, services: map[access.ServiceID]carriedService{}, open: map[address]time.Time{}, untilClosed: map[address]bool{}}
	for _, l := range r.Leases() {
		c.open[addressOf(l)] = time.Time{} // no lease is in force after a start
	}
	return c
}

// addService adds a service whose connections the kernel forwards, and the longest
// time for which it opens.
func (c *carried) addService(id access.ServiceID, prefixLen4, prefixLen6 int, openMax time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[id] = carriedService{prefixLen4, prefixLen6, openMax}
}

// admit records the addresses that grants will let in, unless they are recorded
// already. If the record is full, it displaces other addresses, also if it fails
// then: the caller must cut their connections. If admit fails, the caller must not
// let any of the addresses in. UntilClosed: the leases are kept ones, so they are
// displaced after all others.
func (c *carried) admit(grants []sessions.Grant, untilClosed bool, may func(wire.Identifier, access.ServiceID) bool) (displaced []state.Lease, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.boot()
	var fresh []state.Lease
	var added []address
	for id, s := range c.services {
		for _, g := range grants {
			a := address{g.Identifier, id, access.PeerIn(g.Address, s.prefixLen4, s.prefixLen6)}
			if !a.peer.IsValid() || !g.Within(s.prefixLen4, s.prefixLen6) || !may(a.client, id) {
				continue
			}
			_, known := c.open[a]
			if !known {
				added = append(added, a)
			}
			if l := a.lease(); !known || untilClosed && !c.untilClosed[a] {
				l.Until = c.wall().Add(s.openMax)
				if untilClosed {
					l.Until = untilClosedEnd
				}
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
		for _, a := range added {
			delete(c.open, a)
		}
	} else if untilClosed {
		for _, l := range fresh {
			c.untilClosed[addressOf(l)] = true
		}
	}
	for _, l := range displaced {
		delete(c.open, addressOf(l))
		delete(c.untilClosed, addressOf(l))
	}
	return displaced, err
}

// past returns the addresses, at a service, of clients that do not stay; they have
// no lease there from now on.
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

// untilClosedEnd is the recorded end of a kept lease.
var untilClosedEnd = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)

// idle returns the addresses for which no lease can be in force. leased reports
// whether one without an end is.
func (c *carried) idle(leased func(address) bool) (idle []address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.boot()
	for a, until := range c.open {
		if !now.Before(until) && !leased(a) {
			idle = append(idle, a)
		}
	}
	return idle
}

// forget removes addresses from which nothing was connected at the time of a
// check, except those that were let in again since that check began.
func (c *carried) forget(gone []address, looked time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var leases []state.Lease
	for _, a := range gone {
		if until, ok := c.open[a]; ok && !looked.Before(until) {
			delete(c.open, a)
			delete(c.untilClosed, a)
			leases = append(leases, a.lease())
		}
	}
	return c.record.Forget(leases)
}

// check cuts connections of addresses without a right: of clients that lost it, or
// were removed while no server ran. It forgets addresses from which nothing is
// connected.
func (c *carried) check(
	ctx context.Context, g *gate.Services,
	entitled func(address) bool, connected func(context.Context, []access.Change) ([]bool, error),
) error {
	looked := c.boot()
	idle := c.idle(func(a address) bool {
		_, kept := g.HasLease(a.service, a.client, a.peer)
		return kept
	})
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

// watchCarried checks the connections that the kernel forwards, at once and then
// every carriedInterval, until ctx ends.
func (s *Server) watchCarried(ctx context.Context) {
	for failed := false; ; {
		err := s.carried.check(ctx, s.gate.Services, s.entitled, s.holder.Connected)
		if err != nil && !failed && ctx.Err() == nil {
			s.env.Log.Warn("failed to list firewalled connections; keeping addresses", "error", err)
		}
		failed = err != nil
		select {
		case <-time.After(carriedInterval):
		case <-ctx.Done():
			return
		}
	}
}

// entitled reports whether the client of an address keeps its connections there:
// it is missing and waits, or it is a client and may open the service. For
// addresses without a client, an operation must open the service.
func (s *Server) entitled(a address) bool {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	if ownerless(a.client) {
		return s.challenge.opensOwnerless(a.service)
	}
	_, is := s.reloads.table.Secrets(a.client)
	return s.reloads.missing.has(a.client) || is && s.gate.May(a.client, a.service)
}

// admit records the addresses of grants of knocks before they are let in.
func (s *Server) admit(grants []sessions.Grant) error { return s.admitFor(grants, false) }

// admitFor records the addresses of grants before they are let in. UntilClosed: the
// leases are kept ones. Addresses that they displace from the record are cut: no address
// may be connected without a record.
func (s *Server) admitFor(grants []sessions.Grant, untilClosed bool) error {
	displaced, err := s.carried.admit(grants, untilClosed, s.gate.May)
	for _, l := range displaced {
		s.gate.Displace(l.Service, l.Client, l.Peer)
	}
	if err != nil {
		return fmt.Errorf("record the address: %w", err)
	}
	return nil
}
