package gate

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/prove"
	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// noNonces accepts each nonce any number of times.
type noNonces struct{}

func (noNonces) Check(_ *verify.Claim, done func(sessions.Outcome)) { done(sessions.Recorded) }

func (noNonces) Use(_ verify.Connection, done func(sessions.Outcome)) { done(sessions.Recorded) }

// provedStage is a service of the clients com1 and com2, whose connections must prove
// themselves, on the loopback.
type provedStage struct {
	t       *testing.T
	service *Service
	gate    *Services
	tcp     *TCP
	at      string
	stats   *prove.Authority
}

func newProvedStage(t *testing.T, p LeasePolicy, perAddress int) provedStage {
	t.Helper()
	authority := new(prove.Authority)
	authority.SetNonces(noNonces{})
	authority.SetRules(verify.Rules{Table: verifytest.Table(t, verifytest.Clients("com1", "com2")...), Tolerance: time.Minute})
	prover, err := prove.New(prove.Config{Service: "ssh", Authority: authority, Wall: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp", "127.0.0.1:0") // to choose a port
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	tcp := NewTCP(TCPConfig{Listen: at, PrefixLen6: 128, PerAddress: perAddress, Handler: echo{}, Prover: prover, Clock: system, Log: log})
	p.OpenFor, p.OpenMax, p.Addresses = time.Minute, time.Hour, 8
	s := NewService(ServiceConfig{Name: "ssh", PrefixLen6: 128, Policy: p, Enforcers: []access.Enforcer{tcp}, Clock: system, Log: log})
	if err := tcp.Prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	gate, err := NewServices([]*Service{s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return provedStage{t, s, gate, tcp, at, authority}
}

func (s provedStage) open(id, address string) {
	s.t.Helper()
	if err := s.service.Open(grant(id, address)); err != nil {
		s.t.Fatal(err)
	}
}

// dial connects from an address of the loopback; nil: the connection is refused, or reset
// at once.
func (s provedStage) dial(from string) net.Conn {
	s.t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", s.at)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// connect connects as a client, and proves it. It returns nil if the server resets the
// connection.
func (s provedStage) connect(id, from string) net.Conn {
	s.t.Helper()
	c := s.dial(from)
	if c == nil {
		return nil
	}
	p := verifytest.Handshake(s.t, "ssh", id, uint32(time.Now().Unix()), 1)
	b := p.Preamble()
	if _, err := c.Write(b[:]); err != nil {
		return nil
	}
	answer := make([]byte, preamble.AnswerSize)
	if n, err := io.ReadFull(c, answer); err != nil {
		if n > 0 || !errors.Is(err, syscall.ECONNRESET) {
			s.t.Errorf("%s from %s: %d bytes, %v", id, from, n, err)
		}
		return nil
	}
	proof, err := p.Answer(answer)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := c.Write(proof[:]); err != nil {
		return nil
	}
	if !passes(c) {
		return nil
	}
	return c
}

// passes reports whether the service sends back what it gets. A connection that does
// not pass bytes must have been reset.
func passes(c net.Conn) bool {
	if c == nil {
		return false
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		panic(fmt.Sprintf("want a reset, got %v", err))
	}
	return err == nil
}

// TestProofOfAConnection: a lease lets an address try. Only a client that has a lease
// gets in.
func TestProofOfAConnection(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{}, 4)
	s.open("com1", "127.0.0.2")
	for range 6 { // they count for no limit of the service
		if s.dial("127.0.0.2") == nil {
			t.Error("an address with a lease cannot try")
		}
	}
	if s.connect("com1", "127.0.0.2") == nil {
		t.Error("the client")
	}
	for name, c := range map[string]net.Conn{
		"a client without a lease": s.connect("com2", "127.0.0.2"), "no client": s.connect("com3", "127.0.0.2"),
	} {
		if c != nil {
			t.Errorf("%s, from the client's address: gets in", name)
		}
	}
	if err := shake("127.0.0.3", s.at, time.Now().Add(100*time.Millisecond)); err == nil {
		t.Error("an address without a lease can try")
	}
	s.open("com2", "127.0.0.2")
	if s.connect("com2", "127.0.0.2") == nil {
		t.Error("the second client, with a lease of its own")
	}
	owners := map[wire.Identifier]int{}
	s.tcp.Owners(func(id wire.Identifier) { owners[id]++ })
	if len(owners) != 2 || owners[verifytest.ID("com1")] != 1 || owners[verifytest.ID("com2")] != 1 {
		t.Errorf("owners %v", owners)
	}
	for range 2 {
		s.connect("com1", "127.0.0.2")
	}
	if s.connect("com1", "127.0.0.2") != nil || s.tcp.Connections() != 4 {
		t.Errorf("%d connections of an address", s.tcp.Connections())
	}
	err := s.service.Execute(Command{Service: s.service.ID(), Grant: grant("com1", "127.0.0.2"), Port: 40000})
	if !errors.Is(err, errNoPorts) {
		t.Errorf("a random port, where no connection could prove itself: %v", err)
	}
}

// TestEndOfAProvedConnection: two clients have leases for one address, and connections.
// The end of one client's lease or right ends its connection only.
func TestEndOfAProvedConnection(t *testing.T) {
	com1, from := verifytest.ID("com1"), netip.MustParseAddr("127.0.0.2")
	ofCom1 := func(l Lease) bool { return l.Client == com1 }
	for name, row := range map[string]struct {
		end   func(s provedStage)
		stays bool
		cut   bool // the service cuts connections
	}{
		"revoked":                  {end: func(s provedStage) { s.gate.Revoke(func(id wire.Identifier) bool { return id == com1 }, Revoked) }},
		"closed by a command":      {cut: true, end: func(s provedStage) { s.gate.EndLeases(ofCom1, false, ByAdministrator) }},
		"closed, and cut":          {end: func(s provedStage) { s.gate.EndLeases(ofCom1, true, ByAdministrator) }},
		"closed, keeps":            {stays: true, end: func(s provedStage) { s.gate.EndLeases(ofCom1, false, ByAdministrator) }},
		"closed by an operation":   {cut: true, end: func(s provedStage) { s.execute(Close) }},
		"expired":                  {cut: true, end: func(s provedStage) { s.expire(com1) }},
		"expired, keeps":           {stays: true, end: func(s provedStage) { s.expire(com1) }},
		"displaced":                {cut: true, end: func(s provedStage) { s.displace() }},
		"displaced by an exchange": {cut: true, end: func(s provedStage) { s.gate.Displace(s.service.ID(), com1, access.PeerOf(from, 128)) }},
		"displaced, keeps":         {stays: true, end: func(s provedStage) { s.displace() }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newProvedStage(t, LeasePolicy{Cut: row.cut}, 8)
			s.open("com1", "127.0.0.2")
			s.open("com2", "127.0.0.2")
			own, other := s.connect("com1", "127.0.0.2"), s.connect("com2", "127.0.0.2")
			if own == nil || other == nil {
				t.Fatal("not connected")
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
			if s.connect("com2", "127.0.0.2") == nil {
				t.Error("the other client does not get in")
			}
		})
	}
}

func (s provedStage) execute(a Action) {
	errs := s.gate.ExecuteAll([]Command{{Service: s.service.ID(), Grant: grant("com1", "127.0.0.2"), Action: a}})
	if errs != nil {
		s.t.Error(errs)
	}
}

// expire lets the leases of a client end, as their time does.
func (s provedStage) expire(id wire.Identifier) {
	s.service.mu.Lock()
	defer s.service.mu.Unlock()
	for _, le := range s.service.leases.byClient[id] {
		s.service.leases.set(le, system.Boot())
	}
	s.service.expire(system.Boot(), expired)
}

// displace gives com1 so many further leases that the first one ends.
func (s provedStage) displace() {
	for i := range 8 {
		s.open("com1", fmt.Sprintf("127.0.1.%d", i+1))
	}
}

// TestProofWhileOpenToAnyone: each handshake of TCP completes, and each connection must
// prove itself.
func TestProofWhileOpenToAnyone(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{Anyone: true}, 8)
	s.open("com1", "127.0.0.2")
	if s.dial("127.0.0.9") == nil {
		t.Error("no handshake for a stranger")
	}
	if s.connect("com1", "127.0.0.3") == nil {
		t.Error("the client, from another address")
	}
	if s.connect("com2", "127.0.0.3") != nil || s.connect("com3", "127.0.0.3") != nil {
		t.Error("without a lease")
	}
	s.open("com2", "127.0.0.4")
	if s.connect("com2", "127.0.0.3") == nil {
		t.Error("the second client")
	}
}

// TestProofClosesWithTheService: nothing is left.
func TestProofClosesWithTheService(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{}, 8)
	s.open("com1", "127.0.0.2")
	through, idle := s.connect("com1", "127.0.0.2"), s.dial("127.0.0.2")
	s.tcp.Close()
	for name, c := range map[string]net.Conn{"with a proof": through, "without": idle} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.dial("127.0.0.2") != nil {
		t.Error("listens")
	}
}

// TestTryDoesNotAllocate: strangers cause it.
func TestTryDoesNotAllocate(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{}, 8)
	s.open("com1", "127.0.0.2")
	admitted, stranger := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("2001:db8::1")
	l := s.tcp.listener
	if n := testing.AllocsPerRun(100, func() {
		_, yes := l.Try(admitted)
		_, no := l.Try(stranger)
		if !yes || no {
			t.Error("the wrong address")
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// TestShareOfANetwork: a host of IPv6 that changes its address counts as one, also if
// leases are for single addresses.
func TestShareOfANetwork(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{Anyone: true}, 8)
	s.open("com1", "127.0.0.2")
	of := func(a string) netip.Prefix {
		peer, ok := s.tcp.listener.Try(netip.MustParseAddr(a))
		if !ok {
			t.Errorf("%s cannot try", a)
		}
		return peer
	}
	if of("2001:db8::1") != of("2001:db8::f00:2") || of("2001:db8::1") == of("2001:db8:0:1::1") || of("192.0.2.1") == of("192.0.2.2") {
		t.Error("the wrong addresses share")
	}
}

// TestProofAtADrawnPort: all ports of a service share a Prover.
func TestProofAtADrawnPort(t *testing.T) {
	s := newProvedStage(t, LeasePolicy{}, 8)
	cfg := s.tcp.cfg
	s.tcp.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	rotating := NewRotating(RotatingConfig{
		Draw: func(schedule.Minute, schedule.SecretName) (p [schedule.Candidates]uint16, err error) {
			p[0] = port
			return p, nil
		},
		Make: func(port uint16) DrawnPort {
			own := cfg
			own.Listen = fmt.Sprintf("127.0.0.1:%d", port)
			return NewTCP(own)
		},
		Clock: system, Log: cfg.Log,
	})
	defer rotating.Close()
	service := NewService(ServiceConfig{
		Name: "ssh", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Addresses: 8, Cut: true},
		Enforcers: []access.Enforcer{rotating}, Rotation: rotating, Prepare: rotating.Prepare, Clock: system, Log: cfg.Log,
	})
	s.service, s.at = service, fmt.Sprintf("127.0.0.1:%d", port)
	s.open("com1", "127.0.0.2")
	s.open("com2", "127.0.0.2")
	own, other := s.connect("com1", "127.0.0.2"), s.connect("com2", "127.0.0.2")
	if own == nil || other == nil {
		t.Fatal("not connected")
	}
	if s.connect("com3", "127.0.0.2") != nil {
		t.Error("a stranger gets in")
	}
	s.expire(verifytest.ID("com1"))
	if passes(own) || !passes(other) {
		t.Error("the connections did not end with the leases of their clients")
	}
}
