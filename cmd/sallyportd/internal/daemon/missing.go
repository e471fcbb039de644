package daemon

import (
	"maps"
	"time"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// missingLongest is how many times the time that the clients file has to stand
// unchanged a client may be missing in it, however often it changes.
const missingLongest = 10

// missing are clients that the clients file names no more, without a word of the
// administrator, and that have something open: they get nothing new, and lose
// what they have when it is certain that the file is as it is to be. The zero
// value is none. It is a function of what was read and of the time.
type missing struct {
	of map[wire.Identifier]absence
}

type absence struct {
	since time.Time      // of clock.Monotonic
	had   verify.Secrets // when it was there
}

// add is for a client that has gone missing now. One that was missing before
// stays so since then.
func (m *missing) add(id wire.Identifier, had verify.Secrets, now time.Time) {
	if m.of == nil {
		m.of = map[wire.Identifier]absence{}
	}
	if _, ok := m.of[id]; !ok {
		m.of[id] = absence{now, had}
	}
}

// has reports whether a client is missing.
func (m *missing) has(id wire.Identifier) bool {
	_, ok := m.of[id]
	return ok
}

// back forgets those that are clients again.
func (m *missing) back(is map[wire.Identifier]bool) {
	maps.DeleteFunc(m.of, func(id wire.Identifier, _ absence) bool { return is[id] })
}

// drop forgets a client, and reports whether it was missing.
func (m *missing) drop(id wire.Identifier) bool {
	was := m.has(id)
	delete(m.of, id)
	return was
}

// due takes out who is cut off now: everybody who is missing, if the file that
// lacks them stands unchanged since the time; else those who were missing for
// long. settle is how long it has to stand.
func (m *missing) due(now, unchanged time.Time, settle time.Duration) map[wire.Identifier]bool {
	over := map[wire.Identifier]bool{}
	for id, a := range m.of {
		if !unchanged.IsZero() && now.Sub(unchanged) >= settle || now.Sub(a.since) >= missingLongest*settle {
			over[id] = true
			delete(m.of, id)
		}
	}
	return over
}
