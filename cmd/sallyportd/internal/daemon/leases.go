package daemon

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/gate"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// leases returns all leases in force, and those that are only recorded, in the order
// of services, clients and peers.
func (s *Server) leases() []admin.Lease {
	inGate := s.gate.Leases() // first: a lease that ends meanwhile is not listed as recorded
	recorded := map[address]state.Kept{}
	for _, l := range s.kept.all() {
		recorded[l.at] = l.Kept
	}
	list := make([]admin.Lease, 0, len(inGate)+len(recorded)) // JSON: not null
	wall := s.wallTimes()
	for _, l := range inGate {
		a := adminLease(l, wall)
		a.InForce = l.Waits == ""
		at := addressOfLease(l)
		if r, ok := recorded[at]; ok {
			a.Since = r.Since.UTC()
		}
		delete(recorded, at)
		list = append(list, a)
	}
	for _, r := range recorded {
		list = append(list, RecordedLease(r))
	}
	sortLeases(list)
	return list
}

// adminLease returns a lease of the gate for the administrator. Of a recorded one, the
// record knows better when it began.
func adminLease(l gate.Lease, wall func(time.Time) time.Time) admin.Lease {
	a := identify(l)
	a.Since, a.Waits = wall(l.Since), l.Waits
	if !l.Kept {
		until := wall(l.Until)
		a.Until = &until
	}
	return a
}

// wallTimes returns a function from times of clock.Boot to those of the wall clock, in
// seconds. It reads the clocks once, and not for each of many leases.
func (s *Server) wallTimes() func(time.Time) time.Time {
	boot, wall := s.env.Clock.Boot(), s.env.Clock.Wall()
	return func(t time.Time) time.Time { return wall.Add(t.Sub(boot)).UTC().Truncate(time.Second) }
}

// identify returns the part of a lease that admin.Which selects.
func identify(l gate.Lease) admin.Lease {
	a := admin.Lease{Service: l.Service, Peer: l.Peer.Prefix, Zone: l.Peer.Zone, Port: l.Peer.Port, Operation: l.Operation}
	if !ownerless(l.Client) {
		a.Client = l.Client.String()
	}
	return a
}

// RecordedLease returns a recorded lease that is not in force.
func RecordedLease(k state.Kept) admin.Lease {
	a := admin.Lease{Service: k.Service, Peer: k.Peer.Prefix, Zone: k.Peer.Zone, Operation: k.Operation, Since: k.Since.UTC()}
	if k.Client != (wire.Identifier{}) {
		a.Client = k.Client.String()
	}
	if k.End != (state.End{}) {
		until := time.Unix(k.End.Wall, 0).UTC()
		a.Until = &until
	}
	return a
}

// ClosingLease returns the lease of a recorded closing command for the administrator.
func ClosingLease(c state.Closing) admin.Lease {
	l := RecordedLease(state.Kept{Service: c.Service, Operation: c.Operation, Client: c.Client, Peer: c.Peer, Since: c.Since})
	if !c.Until.IsZero() {
		until := c.Until.UTC()
		l.Until = &until
	}
	return l
}

func sortLeases(list []admin.Lease) {
	slices.SortFunc(list, func(a, b admin.Lease) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		if c := strings.Compare(a.Client, b.Client); c != 0 {
			return c
		}
		return cmp.Or(a.Peer.Addr().Compare(b.Peer.Addr()), cmp.Compare(a.Peer.Bits(), b.Peer.Bits()), strings.Compare(a.Zone, b.Zone), cmp.Compare(a.Port, b.Port))
	})
}

// closeLeases ends the leases that the administrator has selected, and removes them
// from the record.
func (s *Server) closeLeases(asked admin.Closing) (done admin.Closed) {
	s.kept.serial.Lock()
	defer s.kept.serial.Unlock()
	done.Leases = []admin.Lease{}
	now := map[address]admin.Lease{}
	for _, l := range s.kept.all() {
		now[l.at] = RecordedLease(l.Kept)
	}
	s.challenge.dropWaiting(func(c command) bool { return asked.Matches(identify(c.lease())) })
	gone := s.gate.EndLeases(func(l gate.Lease) bool { return asked.Matches(identify(l)) }, asked.Cut, gate.ByAdministrator)
	ended := map[address]bool{}
	wall := s.wallTimes()
	for _, l := range gone {
		a := adminLease(l, wall)
		if r, ok := now[addressOfLease(l)]; ok {
			a = r
		}
		a.InForce, a.Waits = true, ""
		ended[addressOfLease(l)] = true
		done.Leases = append(done.Leases, a)
	}
	s.kept.endIf(func(at address) bool {
		l, ok := now[at]
		return ok && (ended[at] || asked.Matches(l))
	})
	for at, l := range now {
		if !ended[at] && asked.Matches(l) {
			done.Leases = append(done.Leases, l)
		}
	}
	if _, err := s.kept.flush(); err != nil {
		done.Unrecorded = err.Error()
	}
	sortLeases(done.Leases)
	return done
}
