package prefilter

import (
	"cmp"
	"slices"
	"time"

	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Table has the rules for knocks, for all ports. It is immutable.
type Table struct {
	// Maximum is n-1, or AnyMaximum.
	Maximum int8
	// Tolerance is how long a port is open before and after its minutes.
	Tolerance time.Duration
	// Ports has the places of each port, in ascending order of their minutes. A
	// port without a place, or that is not in the map, accepts nothing.
	Ports map[uint16][]schedule.Place
	// Identifiers are those of all clients; nil: any printable identifier.
	Identifiers *Identifiers
}

// AnyMaximum stands for every maximum that a knock can have, in a table that
// must accept knocks of sequences of two lengths.
const AnyMaximum int8 = -1

// Accepts checks a datagram, without its UDP header, by the rules of the port
// that it arrived on. It returns the first rule that is broken. It returns
// verify.Authentic if none is, but the datagram is not authenticated: its HMAC
// has not been checked. Accepts does not allocate, and does not retain the
// datagram.
func (t Table) Accepts(port uint16, datagram []byte) verify.Reason {
	maximum := t.Maximum
	if maximum == AnyMaximum && len(datagram) > wire.OffsetMaximum {
		maximum = int8(datagram[wire.OffsetMaximum])
	}
	k, _, reason := verify.CheckFormat(datagram, maximum, t.Ports[port])
	if reason == verify.Authentic && t.Identifiers != nil && !t.Identifiers.has(k.Identifier) {
		return verify.Identifier
	}
	return reason
}

// Level is how many of the rules a tier enforces.
type Level int32

// The levels.
const (
	None    Level = iota // no rule, or only which ports are open
	Shape                // all rules except unknown identifiers
	Clients              // all rules
)

var levelNames = [...]string{"none", "shape", "clients"}

func (l Level) String() string {
	if l >= 0 && int(l) < len(levelNames) {
		return levelNames[l]
	}
	return "unknown"
}

// Level returns the level of a tier that enforces the whole table.
func (t Table) Level() Level {
	if t.Identifiers == nil {
		return Shape
	}
	return Clients
}

// Ends returns the ports that have a place, and when each expires: the end of its
// last minute, plus the tolerance. The caller owns the map.
func (t Table) Ends() map[uint16]time.Time {
	ends := make(map[uint16]time.Time, len(t.Ports))
	for port, places := range t.Ports {
		if len(places) > 0 {
			ends[port] = (places[len(places)-1].Minute + 1).Start().Add(t.Tolerance)
		}
	}
	return ends
}

// Only returns the table with only the ports for which keep returns true.
func (t Table) Only(keep func(port uint16) bool) Table {
	ports := make(map[uint16][]schedule.Place, len(t.Ports))
	for port, places := range t.Ports {
		if keep(port) {
			ports[port] = places
		}
	}
	t.Ports = ports
	return t
}

// Wider returns a table that accepts everything that a or b accepts, and perhaps
// more.
func Wider(a, b Table) Table {
	w := Table{
		Maximum: a.Maximum, Tolerance: max(a.Tolerance, b.Tolerance), Identifiers: Union(a.Identifiers, b.Identifiers),
	}
	if a.Maximum != b.Maximum {
		w.Maximum = AnyMaximum
	}
	w.Ports = make(map[uint16][]schedule.Place, len(a.Ports)+len(b.Ports))
	for _, t := range []Table{a, b} {
		for port, places := range t.Ports {
			w.Ports[port] = merge(w.Ports[port], places)
		}
	}
	return w
}

// merge returns the places of both lists in ascending order, each once.
func merge(a, b []schedule.Place) []schedule.Place {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(p, q schedule.Place) int {
		if p.Minute != q.Minute {
			return int(p.Minute - q.Minute)
		}
		if p.Index != q.Index {
			return int(p.Index) - int(q.Index)
		}
		return cmp.Compare(p.Secret, q.Secret)
	})
	return slices.Compact(all)
}

// Covers reports whether t accepts everything that b accepts.
func (t Table) Covers(b Table) bool {
	if t.Maximum != b.Maximum && t.Maximum != AnyMaximum || t.Tolerance < b.Tolerance ||
		Union(t.Identifiers, b.Identifiers) != t.Identifiers {
		return false
	}
	for port, places := range b.Ports {
		for _, p := range places {
			if !slices.Contains(t.Ports[port], p) {
				return false
			}
		}
	}
	return true
}
