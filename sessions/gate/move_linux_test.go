package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// moving is a proxy of one process after another.
type moving struct {
	t              *testing.T
	listen, target string
	cut            bool
	perAddress     int
}

func newMoving(t *testing.T) *moving {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
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
	return &moving{t: t, listen: at(freePort(t)), target: l.Addr().String(), perAddress: 8}
}

// start starts the next process, with leases for clients at 127.0.0.1.
func (m *moving) start(clients ...string) (*Services, *TCP) {
	m.t.Helper()
	log := slog.New(slog.DiscardHandler)
	tcp := NewTCP(TCPConfig{
		Listen: m.listen, PrefixLen6: 128, Clock: system, PerAddress: m.perAddress, Log: log,
		Handler: NewProxy(relay.TCP{Upstream: relay.Upstream(m.target)}, log),
	})
	s := NewService(ServiceConfig{
		Name: "ssh", PrefixLen6: 128, Enforcers: []access.Enforcer{tcp}, Clock: system, Log: log,
		Policy: LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8, Cut: m.cut},
	})
	gate, err := NewServices([]*Service{s}, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, id := range clients {
		if err := s.Open(grant(id, "127.0.0.1")); err != nil {
			m.t.Fatal(err)
		}
	}
	return gate, tcp
}

func (m *moving) dial(tcp *TCP) net.Conn {
	m.t.Helper()
	before := tcp.Connections()
	c, err := net.Dial("tcp", m.listen)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	c.SetDeadline(netns.Deadline(m.t))
	echoes(m.t, c, "before")
	if tcp.Connections() != before+1 {
		m.t.Errorf("%d connections", tcp.Connections())
	}
	return c
}

// echoes sends a text, and waits until it comes back.
func echoes(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	comesBack(t, c, text)
}

func comesBack(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%q, %v; want %q", got, err, text)
	}
}

func isReset(t *testing.T, what string, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s: %v; want a reset", what, err)
	}
}

func everyone(wire.Identifier) bool { return true }

// TestMove: a connection goes on in the next process, with the bytes sent in between. It
// counts there, belongs to its client, and ends with its rights.
func TestMove(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	m := newMoving(t)
	first, tcp := m.start("com1")
	c := m.dial(tcp)
	moved := first.Finish(t.Context(), true)
	if len(moved) != 1 || moved[0].Service != "ssh" || !moved[0].Leased || moved[0].Proved || len(moved[0].Owners) != 1 || moved[0].Owners[0] != verifytest.ID("com1") {
		t.Fatalf("got %+v", moved)
	}
	if tcp.Connections() != 0 || tcp.limits.Count() != 0 {
		t.Error("the connection still counts")
	}
	if _, err := net.Dial("tcp", m.listen); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a process that finishes accepts connections: %v", err)
	}
	if err := first.list[0].Open(grant("com2", "127.0.0.2")); err == nil {
		t.Error("a process that finishes opens its port")
	}
	tcp.Close()
	if _, err := io.WriteString(c, "in between"); err != nil {
		t.Fatal(err)
	}
	second, tcp := m.start("com1")
	if err := second.Adopt(moved[0], everyone); err != nil {
		t.Fatal(err)
	}
	comesBack(t, c, "in between")
	echoes(t, c, "after")
	if tcp.Connections() != 1 || tcp.limits.Count() != 1 {
		t.Error("the connection does not count")
	}
	second.Revoke(func(id wire.Identifier) bool { return id == verifytest.ID("com2") }, Revoked)
	echoes(t, c, "not revoked")
	second.Revoke(func(id wire.Identifier) bool { return id == verifytest.ID("com1") }, Revoked)
	isReset(t, "after a revocation", c)
	if tcp.Connections() != 0 {
		t.Error("the connection still counts")
	}
}

// TestMoveRefused: a connection is reset if the next process would not have it.
func TestMoveRefused(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	other := newMoving(t)
	for _, row := range []struct {
		what    string
		ends    bool // its lease has ended before
		cut     bool
		clients []string // with a lease in the next process
		next    func(m *moving, s *Moved)
		valid   func(wire.Identifier) bool
		reason  string // empty: it goes on
	}{
		{what: "in force", clients: []string{"com1"}},
		{what: "in force, and connections end with it", cut: true, clients: []string{"com1"}},
		{reason: "the lease has ended", what: "no lease is left"},
		{reason: "the lease has ended", what: "the lease of another client", clients: []string{"com2"}},
		{what: "it had outlived its lease", ends: true},
		{reason: "connections end with their lease now", what: "it had outlived its lease, which it no longer may", ends: true, next: func(m *moving, _ *Moved) { m.cut = true }},
		{reason: "the client is gone, or has a new secret", what: "its client is gone", clients: []string{"com1"}, valid: func(id wire.Identifier) bool { return id != verifytest.ID("com1") }},
		{reason: "the client is gone, or has a new secret", what: "no client", ends: true, next: func(_ *moving, s *Moved) { s.Owners = nil }},
		{reason: "the client is gone, or has a new secret", what: "one of two clients is gone", clients: []string{"com1"}, next: func(_ *moving, s *Moved) { s.Owners = append(s.Owners, verifytest.ID("com2")) },
			valid: func(id wire.Identifier) bool { return id == verifytest.ID("com1") }},
		{reason: "the service is gone", what: "the service is gone", clients: []string{"com1"}, next: func(_ *moving, s *Moved) { s.Service = "web" }},
		{reason: "upstream of the service has changed", what: "another upstream", clients: []string{"com1"}, next: func(m *moving, _ *Moved) { m.target = other.target }},
		{reason: "listen of the service has changed", what: "another port", clients: []string{"com1"}, next: func(m *moving, _ *Moved) { m.listen = at(freePort(t)) }},
		{reason: "listen of the service has changed", what: "another address", clients: []string{"com1"}, next: func(m *moving, _ *Moved) { m.listen = strings.Replace(m.listen, "127.0.0.1", "127.0.0.2", 1) }},
		{what: "all addresses", clients: []string{"com1"}, next: func(m *moving, _ *Moved) { m.listen = strings.Replace(m.listen, "127.0.0.1", "", 1) }},
		{reason: "the address, or all together, has as many connections as the service allows", what: "no connection is allowed", clients: []string{"com1"}, next: func(m *moving, _ *Moved) { m.perAddress = 0 }},
		{reason: "the service has no proxy in this process", what: "it must prove itself", clients: []string{"com1"}, next: func(_ *moving, s *Moved) { s.Proved = true }},
	} {
		t.Run(row.what, func(t *testing.T) {
			m := newMoving(t)
			m.cut = row.cut
			first, tcp := m.start("com1")
			c := m.dial(tcp)
			if row.ends {
				first.EndLeases(func(Lease) bool { return true }, false, ByAdministrator)
			}
			moved := first.Finish(t.Context(), true)
			tcp.Close()
			if len(moved) != 1 || moved[0].Leased == row.ends {
				t.Fatalf("got %+v", moved)
			}
			if row.next != nil {
				row.next(m, &moved[0])
			}
			if row.valid == nil {
				row.valid = everyone
			}
			second, tcp := m.start(row.clients...)
			defer tcp.Close()
			got := ""
			if err := second.Adopt(moved[0], row.valid); err != nil {
				got = err.Error()
			}
			if got != row.reason {
				t.Errorf("got %q, want %q", got, row.reason)
			}
			if row.reason == "" {
				echoes(t, c, "after")
			} else {
				isReset(t, row.what, c)
			}
			if got := tcp.Connections() == 1; got != (row.reason == "") {
				t.Errorf("%d connections", tcp.Connections())
			}
		})
	}
}

// TestCutIsNotMoved: a connection that was cut while it was paused is not passed on.
func TestCutIsNotMoved(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	m := newMoving(t)
	first, tcp := m.start("com1")
	c := m.dial(tcp)
	var tracked *conn
	for tracked = range tcp.conns {
	}
	first.Revoke(everyone, Revoked)
	if _, ok := tracked.give(relay.Pair{}); ok {
		t.Error("passed on")
	}
	isReset(t, "the client", c)
}

// TestNotMoved: a connection stays, and ends with the process, if nothing takes it over.
func TestNotMoved(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	m := newMoving(t)
	first, tcp := m.start("com1")
	c := m.dial(tcp)
	if moved := first.Finish(t.Context(), false); len(moved) > 0 {
		t.Errorf("got %+v", moved)
	}
	echoes(t, c, "finishing")
	tcp.Close()
	isReset(t, "the client", c)
	// No manager stores the descriptors.
	first, tcp = m.start("com1")
	c = m.dial(tcp)
	for _, moved := range first.Finish(t.Context(), true) {
		moved.Close()
	}
	isReset(t, "the client, without a store", c)
}

// TestProvedMoves: a connection that has proved itself belongs to its client in the next
// process too, and ends with the lease of this client.
func TestProvedMoves(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{}, 8)
	s.tcp.Close()
	upstream := newMoving(t).target
	start := func() (*Services, *TCP) {
		cfg := s.tcp.cfg
		cfg.Limits, cfg.Handler = nil, NewProxy(relay.TCP{Upstream: relay.Upstream(upstream)}, cfg.Log)
		tcp := NewTCP(cfg)
		t.Cleanup(func() { tcp.Close() })
		s.service = NewService(ServiceConfig{
			Name: "ssh", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Addresses: 8, Cut: true},
			Enforcers: []access.Enforcer{tcp}, Clock: system, Log: cfg.Log,
		})
		gate, err := NewServices([]*Service{s.service}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.open("com1", "127.0.0.2")
		s.open("com2", "127.0.0.2")
		return gate, tcp
	}
	first, tcp := start()
	own, other := s.connect("com1", "127.0.0.2"), s.connect("com2", "127.0.0.2")
	if own == nil || other == nil {
		t.Fatal("not connected")
	}
	echoes(t, own, "before")
	echoes(t, other, "before")
	moved := first.Finish(t.Context(), true)
	tcp.Close()
	second, _ := start()
	for _, m := range moved {
		if !m.Proved || !m.Leased || len(m.Owners) != 1 {
			t.Errorf("got %+v", m)
		}
		if err := second.Adopt(m, everyone); err != nil {
			t.Error(err)
		}
	}
	echoes(t, own, "after")
	echoes(t, other, "after")
	s.expire(verifytest.ID("com1"))
	isReset(t, "after the end of its lease", own)
	echoes(t, other, "at the end")
}

// TestFinishRequests: a web service answers the requests that have come, and accepts no
// further connection, also at a drawn port.
func TestFinishRequests(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, rotates := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotates=%t", rotates), func(t *testing.T) { finishRequests(t, rotates) })
	}
}

func finishRequests(t *testing.T, rotates bool) {
	begun, end := make(chan struct{}), make(chan struct{})
	port := freePort(t)
	cfg := TCPConfig{
		Listen: at(port), PrefixLen6: 128, Clock: system, PerAddress: 8, Log: slog.New(slog.DiscardHandler),
		Handler: NewWeb(Content{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-end
			io.WriteString(w, "answered")
		})}, slog.New(slog.DiscardHandler)),
	}
	serving := ServiceConfig{
		Name: "web", PrefixLen6: 128, Clock: system, Log: cfg.Log,
		Policy: LeasePolicy{OpenFor: time.Minute, OpenMax: time.Minute, Addresses: 8},
	}
	if rotates {
		rotating := NewRotating(RotatingConfig{
			Draw: func(schedule.Minute, schedule.SecretName) (p [schedule.Candidates]uint16, err error) {
				p[0] = port
				return p, nil
			},
			Make: func(port uint16) DrawnPort {
				own := cfg
				own.Listen = at(port)
				return NewTCP(own)
			},
			Clock: system, Log: cfg.Log,
		})
		serving.Enforcers, serving.Rotation, serving.Prepare = []access.Enforcer{rotating}, rotating, rotating.Prepare
	} else {
		serving.Enforcers = []access.Enforcer{NewTCP(cfg)}
	}
	defer serving.Enforcers[0].Close()
	s := NewService(serving)
	if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	gate, err := NewServices([]*Service{s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		text string
		err  error
	}
	answered := make(chan result, 1)
	go func() {
		r, err := http.Get("http://" + cfg.Listen)
		if err != nil {
			answered <- result{err: err}
			return
		}
		b, err := io.ReadAll(r.Body)
		answered <- result{string(b), err}
	}()
	<-begun
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		gate.Finish(context.Background(), false)
	}()
	netns.Until(t, "a closed port", func() bool {
		c, err := net.Dial("tcp", cfg.Listen)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	select {
	case <-finished:
		t.Error("Finish does not wait for the request")
	default:
	}
	close(end)
	if got := <-answered; got.text != "answered" || got.err != nil {
		t.Errorf("got %+v", got)
	}
	<-finished
}
