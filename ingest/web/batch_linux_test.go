package web

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestBatch: a batch returns each query with its source, also one that is too long, and
// sends its answers to the sources, in as few calls as they need.
func TestBatch(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp4", "udp6"} {
		loopback := map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"}[network]
		l, err := net.ListenPacket(network, loopback)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		b, err := newBatch(l.(*net.UDPConn))
		if err != nil {
			t.Fatal(err)
		}
		var clients []net.Conn
		for i := range 70 { // more than a batch
			c, err := net.Dial(network, l.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(netns.Deadline(t))
			c.Write([]byte(strings.Repeat("q", 1+i)))
			clients = append(clients, c)
		}
		clients[0].Write(make([]byte, maxQuery+1))
		l.SetDeadline(netns.Deadline(t))
		for seen := 0; seen < len(clients)+1; {
			n, err := b.receive()
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if at := b.source(i); at != netip.MustParseAddrPort(l.LocalAddr().String()).Addr() {
					t.Errorf("from %s", at)
				}
				if q := b.query(i); q == nil {
					b.answer(i, append(b.room(), "long"...))
				} else {
					b.answer(i, append(b.room(), q...))
				}
			}
			b.send()
			seen += n
		}
		buffer := make([]byte, 100)
		for i, c := range append(clients, clients[0]) {
			want := strings.Repeat("q", 1+i)
			if i == len(clients) {
				want = "long"
			}
			if n, err := c.Read(buffer); err != nil || string(buffer[:n]) != want {
				t.Errorf("client %d: %q, %v", i, buffer[:n], err)
			}
		}
		l.SetDeadline(time.Now())
		if _, err := b.receive(); err == nil {
			t.Error("a query from nowhere")
		}
	}
}
