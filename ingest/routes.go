package ingest

import (
	"slices"
	"sync/atomic"
	"time"

	"sallyport/verify/schedule"
)

// routes are the places of all ports, for datagrams that come from rings. As at a
// socket, only the places in force count, not those of settings that are prepared. The
// rotation replaces them; the readers only read them.
type routes struct {
	ports [1 << 16]atomic.Pointer[route]
	known map[uint16]bool // the ports that have a route; the rotation's
}

// route is one port. It is immutable.
type route struct {
	places []schedule.Place
	// until is when the port was closed, by the clock of xdp.Record.Arrival; 0: it is
	// open. A datagram that arrived before is judged by the places of then, as one is
	// that waits in the queue of a socket when it is closed.
	until time.Duration
}

// routeGrace is how long a route stays after its port was closed. No datagram waits in
// a ring for so long.
const routeGrace = 10 * time.Second

// set puts the places of a table in force at now.
func (r *routes) set(ports map[uint16][]schedule.Place, now time.Duration) {
	if r.known == nil {
		r.known = map[uint16]bool{}
	}
	for port := range r.known {
		of := r.ports[port].Load()
		switch _, open := ports[port]; {
		case open:
		case of.until == 0:
			r.ports[port].Store(&route{of.places, now})
		case now-of.until > routeGrace:
			r.ports[port].Store(nil)
			delete(r.known, port)
		}
	}
	for port, places := range ports {
		if of := r.ports[port].Load(); of == nil || of.until != 0 || !slices.Equal(of.places, places) {
			r.ports[port].Store(&route{places: places})
			r.known[port] = true
		}
	}
}

// places returns the places for a datagram that arrived on a port; nil: none.
func (r *routes) places(port uint16, arrival time.Duration) []schedule.Place {
	of := r.ports[port].Load()
	if of == nil || of.until != 0 && arrival > of.until {
		return nil
	}
	return of.places
}
