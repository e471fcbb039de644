package gate

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// echo sends back what it receives.
type echo struct{}

func (echo) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

// TestAbortCutsOnlyItsConnections: during a change from the knockers to anyone,
// both are admitted until the decision. Abort cuts the connections that only
// the new policy let in; earlier connections, even of ended leases, continue.
func TestAbortCutsOnlyItsConnections(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	now := epoch
	c := system
	c.Boot = func() time.Time { return now }
	log := slog.New(slog.DiscardHandler)
	const at = "127.0.0.1:8080"
	tcp := NewTCP(TCPConfig{Listen: at, PrefixLen6: 128, PerAddress: 9, Handler: echo{}, Clock: c, Log: log})
	terms := LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 8}
	list := []*Service{NewService(ServiceConfig{Name: "web", PrefixLen6: 128, Policy: terms, Enforcers: []access.Enforcer{tcp}, Clock: c, Log: log})}
	g, err := NewServices(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	open := func(id, a string) {
		t.Helper()
		if err := g.openOne(grant(id, a)); err != nil {
			t.Fatal(err)
		}
	}
	connect := func(from string) net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	lives := func(conn net.Conn) bool {
		conn.SetDeadline(netns.Deadline(t))
		_, err := conn.Write([]byte("x"))
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		return err == nil
	}
	open("com1", "127.0.0.1")
	before := connect("127.0.0.1")
	if !lives(before) {
		t.Fatal("not let in")
	}
	now = now.Add(11 * time.Second)
	list[0].sweep()
	open("com2", "127.0.0.9") // so that it listens
	if !lives(before) {
		t.Fatal("cut with its lease, where connections are kept")
	}
	now = now.Add(time.Second)
	anyone := terms
	anyone.Anyone = true
	p, err := g.Prepare(Update{Policies: map[access.ServiceID]LeasePolicy{list[0].id: anyone}, IsClient: anyClient})
	if err != nil {
		t.Fatal(err)
	}
	meanwhile := connect("127.0.0.7")
	if !lives(meanwhile) {
		t.Fatal("not let in by the new terms")
	}
	p.Abort()
	if lives(meanwhile) {
		t.Error("a stranger who came in by terms that were aborted stays")
	}
	if !lives(before) {
		t.Error("what was connected before is cut")
	}
	if _, err := net.DialTimeout("tcp", at, 100*time.Millisecond); err == nil {
		t.Error("anyone is let in")
	}
}
