package daemon

import (
	"maps"
	"time"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// maxMissingFactor bounds how long a client may be missing, however often the
// clients file changes: so many times the time for which it must stay unchanged.
const maxMissingFactor = 10

// missing are clients with leases that an edit of the clients file has removed,
// without a command of the administrator. They get no new grant, and lose their
// leases when the file is certainly complete. The zero value is empty. Its content
// depends only on the files that were read and on the time.
type missing struct {
	of map[wire.Identifier]absence
}

type absence struct {
	since time.Time      // of clock.Monotonic
	had   verify.Secrets // of the client, before
	// expires is when the client expires; zero: it does not.
	expires time.Time
}

// add adds a client that is missing from now on. One that was missing before keeps
// its earlier time.
func (m *missing) add(id wire.Identifier, had verify.Secrets, expires, now time.Time) {
	if m.of == nil {
		m.of = map[wire.Identifier]absence{}
	}
	if _, ok := m.of[id]; !ok {
		m.of[id] = absence{now, had, expires}
	}
}

// has reports whether a client is missing.
func (m *missing) has(id wire.Identifier) bool {
	_, ok := m.of[id]
	return ok
}

// back removes those that are clients again.
func (m *missing) back(is map[wire.Identifier]bool) {
	maps.DeleteFunc(m.of, func(id wire.Identifier, _ absence) bool { return is[id] })
}

// drop removes a client, and reports whether it was missing.
func (m *missing) drop(id wire.Identifier) bool {
	was := m.has(id)
	delete(m.of, id)
	return was
}

// expired removes and returns the clients that have expired by now, of the wall clock:
// the file no longer has their time.
func (m *missing) expired(now time.Time) map[wire.Identifier]bool {
	over := map[wire.Identifier]bool{}
	for id, a := range m.of {
		if !a.expires.IsZero() && !now.Before(a.expires) {
			over[id] = true
			delete(m.of, id)
		}
	}
	return over
}

// due removes and returns the clients that must be cut off now: all, if the file
// has been unchanged for the duration settle; otherwise those that have been
// missing for maxMissingFactor times that long. Unchanged is since when the file
// is unchanged; zero: that is not known.
func (m *missing) due(now, unchanged time.Time, settle time.Duration) map[wire.Identifier]bool {
	over := map[wire.Identifier]bool{}
	for id, a := range m.of {
		settled := !unchanged.IsZero() && now.Sub(unchanged) >= settle
		if settled || now.Sub(a.since) >= maxMissingFactor*settle {
			over[id] = true
			delete(m.of, id)
		}
	}
	return over
}
