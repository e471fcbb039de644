package gate

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

func (s provedStage) any(id string, a Action) {
	s.t.Helper()
	c := anyAddress(s.service, id, a)
	c.Grant.Identifier = verifytest.ID(id)
	if errs := s.gate.ExecuteAll([]Command{c}); errs != nil {
		s.t.Fatal(errs)
	}
}

// TestAnyAddress: a lease for any address lets its client in from everywhere, and no other
// client. The end of one such lease ends the connections of its client only.
func TestAnyAddress(t *testing.T) {
	com1 := verifytest.ID("com1")
	ofCom1 := func(l Lease) bool { return l.Client == com1 }
	for name, row := range map[string]struct {
		end   func(s provedStage)
		stays bool
		cut   bool // the service cuts connections
	}{
		"revoked":                 {end: func(s provedStage) { s.gate.Revoke(func(id wire.Identifier) bool { return id == com1 }, Revoked) }},
		"closed by an operation":  {cut: true, end: func(s provedStage) { s.any("com1", Close) }},
		"closed, keeps":           {stays: true, end: func(s provedStage) { s.any("com1", Close) }},
		"by the administrator":    {end: func(s provedStage) { s.gate.EndLeases(ofCom1, true, ByAdministrator) }},
		"expired":                 {cut: true, end: func(s provedStage) { s.expire(com1) }},
		"expired, keeps":          {stays: true, end: func(s provedStage) { s.expire(com1) }},
		"displaced by addresses":  {cut: true, end: func(s provedStage) { s.displace() }},
		"displaced by the record": {cut: true, end: func(s provedStage) { s.gate.Displace(s.service.ID(), com1, access.AnyAddress) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newProvedStage(t, LeasePolicy{Cut: row.cut}, 8)
			s.any("com1", Open)
			own := s.connect("com1", "127.0.0.2")
			if own == nil || s.connect("com1", "127.0.0.3") == nil {
				t.Fatal("the client cannot connect from everywhere")
			}
			if s.connect("com2", "127.0.0.2") != nil || s.connect("com3", "127.0.0.2") != nil {
				t.Error("gets in without a lease")
			}
			s.open("com2", "127.0.0.4")
			if s.connect("com2", "127.0.0.2") != nil {
				t.Error("a lease for an address lets its client in from another one")
			}
			s.any("com2", Open)
			other := s.connect("com2", "127.0.0.2")
			if other == nil {
				t.Fatal("the second client")
			}
			// A close for an address is not one for any.
			s.execute(Close)
			if !passes(own) || s.connect("com1", "127.0.0.2") == nil {
				t.Error("closed by an operation for an address")
			}
			row.end(s)
			if passes(own) != row.stays {
				t.Errorf("its connection stays: %t", !row.stays)
			}
			if !passes(other) {
				t.Error("the connection of another client has ended")
			}
			if s.connect("com1", "127.0.0.2") != nil {
				t.Error("gets in without a lease")
			}
			if s.connect("com2", "127.0.0.3") == nil {
				t.Error("the other client does not get in")
			}
			s.any("com2", Close)
			if err := shake("127.0.0.3", s.at, time.Now().Add(100*time.Millisecond)); err == nil {
				t.Error("an address without a lease can try")
			}
			if s.connect("com2", "127.0.0.4") == nil {
				t.Error("the lease for an address has ended too")
			}
		})
	}
}

// TestRandomPortForAnyAddress: the first connection, or flow, of either family uses up the
// port, wherever it comes from.
func TestRandomPortForAnyAddress(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	log := slog.New(slog.DiscardHandler)
	proxy := NewProxy(relay.TCP{Upstream: relay.Upstream(replyAtEOF(t))}, log)
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		tcp := NewTCP(TCPConfig{Listen: ":" + strconv.Itoa(int(freePort(t))), PrefixLen6: 128, Clock: system, PerAddress: 8, Handler: proxy, Log: log})
		s := serviceOf("ssh", 128, tcp)
		c := anyAddress(s, "com1", Open)
		c.Port = freePort(t)
		if err := s.Execute(c); err != nil {
			t.Fatal(err)
		}
		if len(s.appendLeases(nil)) != 0 {
			t.Error("the port is a lease")
		}
		at := net.JoinHostPort(from, strconv.Itoa(int(c.Port)))
		if from == "127.0.0.2" {
			at = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.Port)))
		}
		dial := func() (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Deadline: netns.Deadline(t)}
			return d.Dial("tcp", at)
		}
		conn, err := dial()
		if err != nil {
			t.Fatalf("from %s: %v", from, err)
		}
		io.WriteString(conn, "all")
		conn.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(conn); string(b) != "heard all" || err != nil {
			t.Errorf("from %s: answered %q, %v", from, b, err)
		}
		if again, err := dial(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("from %s: a second connection: %v, %v", from, again, err)
		}
		s.close()
	}
	terms := LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8}
	s, d, own := udpStage(t, terms, time.Minute, system)
	c := anyAddress(s, "com1", Open)
	c.Port = freePort(t)
	if err := s.Execute(c); err != nil {
		t.Fatal(err)
	}
	answered(t, "the first flow", udpClient(t, "127.0.0.2", at(c.Port)))
	if !silent(udpClient(t, "127.0.0.1", at(c.Port))) || !silent(udpClient(t, "127.0.0.1", own)) {
		t.Error("a second flow, or the service's own port, is answered")
	}
	s.update(t, terms, func(wire.Identifier) bool { return false })
	noPortsLeft(t, d)
	// A close for any address ends the ports that wait.
	if err := s.Execute(c); err != nil {
		t.Fatal(err)
	}
	s.Execute(anyAddress(s, "com1", Close))
	if !silent(udpClient(t, "127.0.0.2", at(c.Port))) {
		t.Error("a closed port is answered")
	}
}
