package capture

import (
	"net"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestArrivedIsTheKernelsTime: packets that wait for the process have the times at which
// they arrived, and not the time at which the process reads them, all at once.
func TestArrivedIsTheKernelsTime(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const apart = 50 * time.Millisecond
	for _, how := range []way{captured, handed, bound} {
		t.Run(string(how), func(t *testing.T) {
			w := newNetwork(t, how)
			// A socket that has an ICMP error for an earlier packet does not send.
			var sockets []*net.UDPConn
			for range 4 {
				sockets = append(sockets, w.dial("198.51.100.1:20010"))
			}
			w.mu.Lock() // the process reads nothing more after the first packet
			began := time.Now()
			for _, c := range sockets {
				c.Write(nil)
				time.Sleep(apart)
			}
			w.mu.Unlock()
			w.await("all packets", func() bool { return len(w.received()) == len(sockets) })
			last := began.UnixNano()
			for i, p := range w.received() {
				if i > 0 && p.Arrived-last < int64(apart*9/10) || p.Arrived < last || p.Arrived > time.Now().UnixNano() {
					t.Errorf("packet %d arrived %s after the one before", i, time.Duration(p.Arrived-last))
				}
				last = p.Arrived
			}
			w.stop()
		})
	}
}
