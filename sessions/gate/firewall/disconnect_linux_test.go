package firewall

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// TestDisconnect: connections of this host's sockets end, although another
// client's lease still lets the address in.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const port = 2000
	for _, listen := range []string{"0.0.0.0:2000", "[::]:2000"} { // the latter's are mapped addresses for IPv4
		l, err := net.Listen("tcp", listen)
		w.must(err)
		for _, client := range []netip.Addr{client4, client6} {
			if listen == "0.0.0.0:2000" && client.Is6() {
				continue
			}
			f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: port}}})
			w.must(f.grant(0, client, time.Hour))
			c := w.connect(client, port)
			if c == nil {
				t.Fatalf("%s was granted, and does not get in", client)
			}
			service, err := l.Accept()
			w.must(err)
			w.must(f.Disconnect([]access.Change{{Service: serviceOf(0), Peer: access.PeerOf(client, access.PrefixHost)}}))
			service.SetReadDeadline(netns.Deadline(t))
			if _, err := service.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
				t.Errorf("%s at %s: the service's socket lives on: %v", client, listen, err)
			}
			c.SetReadDeadline(netns.Deadline(t))
			if _, err := c.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
				t.Errorf("%s at %s: the client's connection lives on: %v", client, listen, err)
			}
			service.Close()
			c.Close()
		}
		l.Close()
	}
}
