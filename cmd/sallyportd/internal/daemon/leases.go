package daemon

import (
	"bytes"
	"fmt"
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
	boot, wall := s.env.Clock.Boot(), s.env.Clock.Wall()
	inGate := s.gate.Leases() // first: a lease that ends meanwhile is not listed as recorded
	recorded := map[address]state.Kept{}
	for _, l := range s.kept.all() {
		recorded[l.at] = l.Kept
	}
	list := []admin.Lease{} // JSON: not null
	for _, l := range inGate {
		a := adminLease(l)
		a.Since, a.InForce = wall.Add(l.Since.Sub(boot)).UTC().Truncate(time.Second), !l.Waits
		at := addressOfLease(l)
		if r, ok := recorded[at]; ok {
			a.Since = r.Since.UTC()
		}
		delete(recorded, at)
		if !l.Kept {
			until := wall.Add(l.Until.Sub(boot)).UTC().Truncate(time.Second)
			a.Until = &until
		}
		list = append(list, a)
	}
	for _, r := range recorded {
		list = append(list, RecordedLease(r))
	}
	sortLeases(list)
	return list
}

// adminLease returns the part of a lease that identifies it.
func adminLease(l gate.Lease) admin.Lease {
	a := admin.Lease{Service: l.Service, Peer: l.Peer.Prefix, Zone: l.Peer.Zone, Operation: l.Operation}
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
	return a
}

func sortLeases(list []admin.Lease) {
	slices.SortFunc(list, func(a, b admin.Lease) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		if c := strings.Compare(a.Client, b.Client); c != 0 {
			return c
		}
		return bytes.Compare(fmt.Append(nil, a.Peer, a.Zone), fmt.Append(nil, b.Peer, b.Zone))
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
	gone := s.gate.EndLeases(func(l gate.Lease) bool { return asked.Matches(adminLease(l)) }, asked.Cut, gate.ByAdministrator)
	ended := map[address]bool{}
	for _, l := range gone {
		a := adminLease(l)
		if r, ok := now[addressOfLease(l)]; ok {
			a = r
		}
		a.InForce = true
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
