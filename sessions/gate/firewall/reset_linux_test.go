package firewall

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestResetConnectionStaysClosed: conntrack keeps the entry of a connection
// that the service has reset, and assigns a new SYN of the same ports to it.
// Without a lease that SYN opens nothing.
func TestResetConnectionStaysClosed(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const port = 2000
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
	w.must(err)
	defer l.Close()
	for name, cut := range map[string]bool{"keep": false, "cut": true} {
		t.Run(name, func(t *testing.T) {
			f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: port, Cut: cut}}})
			for _, client := range []netip.Addr{client4, client6} {
				host := host4
				if client.Is6() {
					host = host6
				}
				w.must(f.grant(0, client, time.Hour))
				c := w.connect(client, port)
				if c == nil {
					t.Fatalf("%s was granted, and does not get in", client)
				}
				service, err := l.Accept()
				w.must(err)
				w.must(service.(*net.TCPConn).SetLinger(0))
				w.must(service.Close())
				c.SetReadDeadline(netns.Deadline(t))
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Fatal("the service did not reset the connection")
				}
				source := c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
				syn := segment(client, host, source, port, flagSYN, nil)
				w.must(f.grant(0, client, 0))
				w.probe() // earlier answers are read
				if answers := w.probe(syn); len(answers) > 0 {
					t.Errorf("a connection of %s that was reset opens again without a lease: %x", client, answers)
				}
				w.must(f.grant(0, client, time.Hour))
				if answers := w.probe(syn); len(answers) != 1 {
					t.Errorf("with a lease it does not open again: %x", answers)
				}
				w.must(f.grant(0, client, 0))
			}
		})
	}
}
