package stay

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// anywhere are addresses in place of those of the server, as long as these are not known:
// a route to them is the default one. Nothing is sent to them (RFC 5737, RFC 3849).
var anywhere = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// anyPort is the port for the choice of a source address. Nothing is sent to it.
const anyPort = 9

// way is how packets reach an address; the zero value: they cannot.
type way struct {
	source  netip.Addr
	link    int        // the index of the interface; 0: not known
	gateway netip.Addr // invalid: none, or not known
}

// sourceWay returns the source address of packets to an address. The kernel chooses it
// when a UDP socket is connected, which sends nothing.
func sourceWay(to netip.Addr) way {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, anyPort)))
	if err != nil {
		return way{}
	}
	defer c.Close()
	return way{source: c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()}
}

// ways are the ways to the addresses of the server.
type ways struct {
	find  func(netip.Addr) way
	to    []netip.Addr
	found []way
	// broken: a part of a way that was in use has gone, and may have come back since.
	broken bool
}

func newWays(find func(netip.Addr) way) *ways {
	w := &ways{find: find, to: anywhere}
	w.found = w.all()
	return w
}

func (w *ways) all() []way {
	found := make([]way, len(w.to))
	for i, a := range w.to {
		found[i] = w.find(a)
	}
	return found
}

// aim sets the addresses. Before, it reports whether the ways to the former ones have
// changed.
func (w *ways) aim(to []netip.Addr) (changed bool) {
	changed = w.look()
	w.to = slices.Clone(to)
	w.found = w.all()
	return changed
}

// look reports whether the ways have changed since the last call, and there is one: while
// there is none, a knock would not leave this computer.
func (w *ways) look() (changed bool) {
	now := w.all()
	w.broken = w.broken || !slices.Equal(now, w.found)
	w.found = now
	if !w.broken || !slices.ContainsFunc(now, func(w way) bool { return w != way{} }) {
		return false
	}
	w.broken = false
	return true
}

// pollEvery is how often pollNetwork looks.
const pollEvery = 3 * time.Second

// pollNetwork watches the network where the system reports no events.
func pollNetwork(ctx context.Context, addresses <-chan []netip.Addr, changes chan<- struct{}) {
	w := newWays(sourceWay)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		changed := false
		select {
		case <-ctx.Done():
			return
		case to := <-addresses:
			changed = w.aim(to)
		case <-ticker.C:
			changed = w.look()
		}
		if changed {
			offer(changes, struct{}{})
		}
	}
}
