package main

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// movable is a service whose connections pass through the server.
const movable = `[[service]]
name = "shell"
type = "proxy"
listen = ":2022"
upstream = "127.0.0.1:2000"
open_for = "10m"
`

// TestConnectionGoesOn: a connection through the server goes on when the server is replaced
// under a service manager with a store of descriptors, with the bytes sent in between.
// Nothing is open in between. It counts as before. If its client is revoked while no server
// runs, it ends, and so does what others have put into the store.
func TestConnectionGoesOn(t *testing.T) { connectionGoesOn(t, movable) }

// TestConnectionGoesOnBehindFirewall is the same with a firewall before all services.
func TestConnectionGoesOnBehindFirewall(t *testing.T) {
	connectionGoesOn(t, movable+"[[service]]\nname = \"hidden\"\ntype = \"firewall\"\nlisten = \":2023\"\n")
}

func connectionGoesOn(t *testing.T, services string) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(services, "all")
	n.echoBytes("127.0.0.1:2000")
	s := newStore(t)
	n.prepare = s.prepare
	n.serve()
	n.knock("all")
	c := n.connected(asClient + ":2022")
	n.exchange(c, "before")

	n.stopInOrder()
	if got := s.count(); got != 3 {
		t.Errorf("%d descriptors in the store, want two sockets and a table", got)
	}
	if n.reaches(n.client, asClient+":2022") || n.reaches(n.stranger, asStranger+":2022") {
		t.Error("open while no server runs")
	}
	if _, err := io.WriteString(c, "in between"); err != nil {
		t.Fatal(err)
	}
	made, stranger := n.pair()
	s.put("sallyport-connections-1", made)
	other, foreign := n.pair()
	s.put("sallyport-connections-2", other)
	n.serve()
	n.reads(c, "in between")
	n.exchange(c, "after")
	for name, peer := range map[string]net.Conn{"with a made-up name": stranger, "of another release": foreign} {
		peer.SetReadDeadline(time.Now().Add(time.Minute))
		if got, err := peer.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("a socket %s: %d bytes, %v; want its end", name, got, err)
		}
	}
	if got := s.count(); got != 0 {
		t.Errorf("%d descriptors are left in the store", got)
	}
	status := n.run(nil, n.path("sallyportd"), "status", "--json", "-c", n.path("gate/sallyportd.toml"))
	if !strings.Contains(status, `"connections":1`) {
		t.Errorf("status: %s", status)
	}
	n.opens(n.client, asClient+":2022")

	n.stopInOrder()
	n.run(nil, n.path("sallyportd"), "client", "revoke", "-c", n.path("gate/sallyportd.toml"), n.identifier("all"))
	n.serve()
	n.isOver(c)
	if got := s.count(); got != 0 {
		t.Errorf("%d descriptors are left in the store", got)
	}
}

// TestConnectionOfAClosedLease: a connection does not go on if the administrator has closed
// its lease while no server ran, although its client may open the service again.
func TestConnectionOfAClosedLease(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(movable, "all")
	n.echoBytes("127.0.0.1:2000")
	s := newStore(t)
	n.prepare = s.prepare
	n.serve()
	n.knock("all")
	c := n.connected(asClient + ":2022")
	n.exchange(c, "before")
	n.stopInOrder()
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "shell")
	n.serve()
	n.isOver(c)
	n.await("the reason in the log", func() bool {
		return strings.Contains(n.log(), "connection not carried on") && strings.Contains(n.log(), "the lease has ended")
	})
	n.knock("all")
	n.exchange(n.connected(asClient+":2022"), "again")
}

// TestStoreThatIsDropped: if the unit is stopped, and not restarted, the manager closes the
// connections, which are then reset. After a crash, nothing is in the store.
func TestStoreThatIsDropped(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(movable, "all")
	n.echoBytes("127.0.0.1:2000")
	s := newStore(t)
	n.prepare = s.prepare
	n.serve()
	n.knock("all")
	stopped := n.connected(asClient + ":2022")
	n.exchange(stopped, "before")
	n.stopInOrder()
	s.stopUnit()
	n.isOver(stopped)

	n.serve()
	c := n.connected(asClient + ":2022")
	n.exchange(c, "before")
	n.stopInOrder()
	n.serve()
	n.exchange(c, "after")
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	c.SetDeadline(time.Now().Add(time.Minute))
	if got, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("after a crash: %d bytes, %v; want the end of the connection", got, err)
	}
	if got := s.count(); got != 0 {
		t.Errorf("%d descriptors are in the store after a crash", got)
	}
	n.serve()
	if n.reaches(n.client, asClient+":2022") {
		t.Error("a lease has outlived a crash")
	}
}

// TestStoreHasALimit: as many connections go on as the store has room for, whether the
// manager reports its limit or not. The others are reset, also one of which the manager has
// stored one socket.
func TestStoreHasALimit(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(movable, "all")
	n.echoBytes("127.0.0.1:2000")
	s := newStore(t)
	s.limit = 6 // a table, two connections, and half a connection
	n.prepare = s.prepare
	for _, s.reports = range []bool{false, true} {
		n.serve()
		n.knock("all")
		var all []net.Conn
		for range 4 {
			c := n.connected(asClient + ":2022")
			n.exchange(c, "before")
			all = append(all, c)
		}
		n.stopInOrder()
		n.serve()
		on := 0
		for _, c := range all {
			c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.WriteString(c, "after"); err == nil {
				_, err = io.ReadFull(c, make([]byte, len("after")))
				if err == nil {
					on++
				} else if !strings.Contains(err.Error(), "reset") {
					t.Errorf("a connection ended with %v", err)
				}
			}
			c.Close()
		}
		if on != 2 || s.count() != 0 {
			t.Errorf("%d of %d connections go on, and %d descriptors are left", on, len(all), s.count())
		}
		n.stopInOrder()
	}
}

// echoBytes starts a service that echoes what each connection sends.
func (n *network) echoBytes(address string) {
	n.t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

func (n *network) connected(address string) (c net.Conn) {
	n.t.Helper()
	n.await("a connection", func() (ok bool) {
		var err error
		c, err = n.dial(n.client, "tcp", address)
		return err == nil
	})
	n.t.Cleanup(func() { c.Close() })
	return c
}

func (n *network) exchange(c net.Conn, text string) {
	n.t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, text); err != nil {
		n.t.Fatalf("send %q: %v\nserver: %s", text, err, n.log())
	}
	n.reads(c, text)
}

func (n *network) reads(c net.Conn, text string) {
	n.t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		n.t.Fatalf("got %q, %v; want %q\nserver: %s", got, err, text, n.log())
	}
}

// isOver checks that a connection was reset.
func (n *network) isOver(c net.Conn) {
	n.t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	if got, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		n.t.Errorf("%d bytes, %v; want a reset\nserver: %s", got, err, n.log())
	}
}

func (n *network) stopInOrder() {
	n.t.Helper()
	if err := n.stop(); err != nil {
		n.t.Errorf("stop: %v\nserver: %s", err, n.log())
	}
}

// pair returns a socket of TCP as a file, and its other end.
func (n *network) pair() (*os.File, net.Conn) {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { far.Close() })
	near, err := l.Accept()
	if err != nil {
		n.t.Fatal(err)
	}
	defer near.Close()
	f, err := near.(*net.TCPConn).File()
	if err != nil {
		n.t.Fatal(err)
	}
	return f, far
}
