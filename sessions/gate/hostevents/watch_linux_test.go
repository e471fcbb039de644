package hostevents

import (
	"sync/atomic"
	"testing"
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
				Watch(done, row.kinds, row.interval, func() { calls.Add(1) })
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
