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
			var sent []int64
			for _, c := range sockets {
				sent = append(sent, time.Now().UnixNano())
				c.Write(nil)
				time.Sleep(apart)
			}
			read := time.Now().UnixNano() // no packet but the first is read before
			w.mu.Unlock()
			w.await("all packets", func() bool { return len(w.received()) == len(sockets) })
			for i, p := range w.received() {
				if p.Arrived < sent[i] || p.Arrived > read {
					t.Errorf("packet %d arrived %s after it was sent, and %s before the others were read",
						i, time.Duration(p.Arrived-sent[i]), time.Duration(read-p.Arrived))
				}
			}
			w.stop()
		})
	}
}
