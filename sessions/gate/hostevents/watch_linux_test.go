package hostevents

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// TestWatch: an address and a link are events of their kind, no matter how long the
// interval is; and without an event, the interval is enough.
func TestWatch(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		kinds    Kinds
		interval time.Duration
		do       func() error // again and again, since the watcher begins at some time
	}{
		"address":  {Addresses, time.Hour, func() error { return netlink.AddrReplace(lo, address(t)) }},
		"link":     {Links, time.Hour, func() error { return alternate(lo) }},
		"both":     {Addresses | Links, time.Hour, func() error { return alternate(lo) }},
		"interval": {Addresses, time.Millisecond, func() error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			done, ended := make(chan struct{}), make(chan struct{})
			var calls atomic.Int32
			go func() {
				defer close(ended)
				Watch(done, row.kinds, 0, row.interval, func() { calls.Add(1) })
			}()
			netns.Until(t, "a call", func() bool {
				if err := row.do(); err != nil {
					t.Fatal(err)
				}
				return calls.Load() > 1
			})
			close(done)
			<-ended
		})
	}
}

// TestPause: a storm of events makes few calls, and one call follows the last event.
func TestPause(t *testing.T) {
	t.Parallel()
	for name, interval := range map[string]time.Duration{"events": time.Hour, "events and ticks": 70 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const pause = 200 * time.Millisecond
				done, ended, events := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
				var calls []time.Time
				go func() {
					defer close(ended)
					call(done, events, pause, interval, func() {
						calls = append(calls, time.Now())
						time.Sleep(30 * time.Millisecond) // a call takes time, too
					})
				}()
				var last time.Time
				for range 1000 {
					time.Sleep(time.Millisecond)
					select {
					case events <- struct{}{}:
					default:
					}
					last = time.Now()
				}
				time.Sleep(2 * pause)
				close(done)
				<-ended
				for i := range len(calls) - 1 {
					if got, want := calls[i+1].Sub(calls[i]), pause+30*time.Millisecond; got < want {
						t.Errorf("calls %d and %d are %s apart, want at least %s", i, i+1, got, want)
					}
				}
				if len(calls) < 5 || calls[len(calls)-1].Before(last) {
					t.Errorf("%d calls, the last one at %v; the last event was at %v", len(calls), calls[len(calls)-1:], last)
				}
			})
		})
	}
}

func address(t *testing.T) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr("192.0.2.1/32")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var mtu int

// alternate changes a link.
func alternate(l netlink.Link) error {
	mtu = 65536 - mtu%2 - 1
	return netlink.LinkSetMTU(l, mtu)
}
