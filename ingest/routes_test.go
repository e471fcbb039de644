package ingest

import (
	"testing"
	"time"

	"sallyport/verify/schedule"
)

// TestRoutes: a datagram of a ring is judged by the places of its port when it arrived:
// those in force while the port is open, the last ones if it was closed afterwards.
func TestRoutes(t *testing.T) {
	var r routes
	one, two := []schedule.Place{{Minute: minute}}, []schedule.Place{{Minute: minute + 1, Index: 2}}
	expect := func(when string, port uint16, arrival time.Duration, want []schedule.Place) {
		t.Helper()
		got := r.places(port, arrival)
		if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Errorf("%s: port %d at %s: %v, want %v", when, port, arrival, got, want)
		}
	}
	expect("never set", 7, time.Second, nil)
	r.set(map[uint16][]schedule.Place{7: one, 8: one}, 10*time.Second)
	expect("open", 7, 11*time.Second, one)
	expect("arrived before it was open", 8, 9*time.Second, one)
	expect("another port", 9, 11*time.Second, nil)

	r.set(map[uint16][]schedule.Place{7: two}, 20*time.Second)
	expect("replaced", 7, 15*time.Second, two)
	expect("closed, arrived before", 8, 20*time.Second, one)
	expect("closed, arrived afterwards", 8, 20*time.Second+1, nil)
	r.set(map[uint16][]schedule.Place{7: two}, 21*time.Second)
	expect("still closed", 8, 20*time.Second, one)
	expect("still closed", 8, 21*time.Second, nil)

	r.set(map[uint16][]schedule.Place{7: two, 8: two}, 22*time.Second)
	expect("open again", 8, 22*time.Second, two)
	r.set(nil, 23*time.Second)
	r.set(nil, 24*time.Second+routeGrace)
	expect("forgotten", 7, 10*time.Second, nil)
	if len(r.known) > 0 || r.ports[8].Load() != nil {
		t.Errorf("%d ports are known", len(r.known))
	}
}
