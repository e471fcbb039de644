package gate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// opener is an enforcer that records random ports by their numbers.
type opener struct {
	recorded
	ports map[uint16]*pretended
}

type pretended struct {
	state PortState
	peer  access.Peer
	until time.Time
}

func (p *pretended) Admit(peer access.Peer, until time.Time) error {
	p.peer, p.until = peer, until
	return nil
}

func (p *pretended) State() PortState { return p.state }

func (p *pretended) End(cut bool) {
	if cut || p.state == PortWaiting {
		p.state = PortOver
	}
}

func (o *opener) OpenPort(port uint16, peer access.Peer, until time.Time) (RandomPort, error) {
	if o.fail != nil {
		return nil, o.fail
	}
	p := &pretended{peer: peer, until: until}
	o.ports[port] = p
	return p, nil
}

func TestRandomPortsAreBounded(t *testing.T) {
	enforcer := &opener{ports: map[uint16]*pretended{}}
	s := serviceOf("web", 128, enforcer)
	number := uint16(0)
	command := func(id wire.Identifier, a netip.Addr) error {
		number++
		return s.Execute(Command{Grant: sessions.Grant{Identifier: id, Address: a}, Port: number, For: time.Duration(number) * time.Millisecond})
	}
	waiting := func() (all []uint16) {
		for n, p := range enforcer.ports {
			if p.state == PortWaiting {
				all = append(all, n)
			}
		}
		slices.Sort(all)
		return all
	}
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	// At its limit a client loses the port that ends first, whatever its address,
	// but none to which a connection has come.
	for i := range portsPerClient {
		if err := command(client(0), address(i%2)); err != nil {
			t.Fatal(err)
		}
	}
	enforcer.ports[1].state = PortUsed
	command(client(0), address(0))
	command(client(0), address(0))
	got := waiting()
	if len(got) != portsPerClient || got[0] != 3 || enforcer.ports[1].state != PortUsed || enforcer.ports[2].state != PortOver {
		t.Errorf("after two more commands wait %v", got)
	}
	// If the port cannot be bound, the command opens nothing.
	enforcer.fail = errors.New("no")
	if err := command(client(0), address(9)); !errors.Is(err, enforcer.fail) || len(waiting()) != portsPerClient-1 {
		t.Errorf("a port that cannot be bound: %v, and %d wait", err, len(waiting()))
	}
	enforcer.fail = nil
	// At the limit of the service, the client with the most ports loses one.
	for i := range maxPorts {
		if err := command(wire.Identifier{1, byte(i)}, address(1)); err != nil {
			if i < maxPorts-1 {
				t.Fatalf("client %d: %v", i, err)
			}
			break
		}
	}
	if got := waiting(); len(got) != maxPorts {
		t.Errorf("%d wait", len(got))
	}
	// Each client has one now: another client gets none, and ends none.
	before := waiting()
	if err := command(client(2), address(1)); !errors.Is(err, errTooManyPorts) || !slices.Equal(waiting(), before) {
		t.Errorf("one too many, where %d wait: %v", len(waiting()), err)
	}
	enforcer.ports[before[0]].state = PortUsed
	if err := command(client(2), address(1)); err != nil {
		t.Errorf("after one was used: %v", err)
	}
	// Ports that are over are removed.
	s.update(t, s.terms, func(wire.Identifier) bool { return false })
	for n, p := range enforcer.ports {
		if p.state != PortOver {
			t.Errorf("port %d of a revoked client: %d", n, p.state)
		}
	}
	if len(s.ports) != 0 || s.leases.Len() != 0 || len(enforcer.open) != 0 {
		t.Errorf("left: %d ports, %d leases, %v", len(s.ports), s.leases.Len(), enforcer.open)
	}
}

// TestSharedOperationFillsNoService: one host with the secret of an operation that belongs to
// no client, and any number of addresses, takes the random ports of no other operation.
func TestSharedOperationFillsNoService(t *testing.T) {
	enforcer := &opener{ports: map[uint16]*pretended{}}
	s := serviceOf("web", 128, enforcer)
	command := func(operation, id string, number int) error {
		from := netip.AddrFrom4([4]byte{198, 51, byte(number >> 8), byte(number)})
		c := Command{Grant: sessions.Grant{Address: from}, Port: uint16(number), For: time.Minute, Operation: operation, Shared: id[0] == '#'}
		copy(c.Grant.Identifier[:], id)
		return s.Execute(c)
	}
	for i := range maxPorts + 10 { // each address is another client
		command("for-all", string([]byte{'#', byte(i >> 8), byte(i), 'x'}), i+1)
	}
	for i, id := range []string{"alic", "bobb", "#one", "#two"} {
		operation := "web-" + id
		if err := command(operation, id, 1000+i); err != nil || enforcer.ports[uint16(1000+i)].state != PortWaiting {
			t.Errorf("%s: %v", operation, err)
		}
	}
	command("for-all", "#999", 2000)
	for i := range 4 {
		if enforcer.ports[uint16(1000+i)].state != PortWaiting {
			t.Errorf("port %d gave way", 1000+i)
		}
	}
	// With few addresses, it keeps no other client of that operation out either.
	s = serviceOf("web", 128, enforcer)
	for i := range maxPorts {
		command("for-all", "#few"+string(rune('0'+i%8)), 3000+i)
	}
	if err := command("for-all", "#999", 4000); err != nil {
		t.Errorf("another client of the operation: %v", err)
	}
}

// networks are networks in memory, by listening address.
type networks map[string]*network

func (h networks) listen(kind, address string) (net.Listener, error) {
	h[address] = &network{}
	return h[address].listen(kind, address)
}

const mooring = "192.0.2.100:" // where the service of a networks is

func withNetworks(t *testing.T, terms LeasePolicy, perAddress int, f func(t *testing.T, s *Service, h networks)) {
	synctest.Test(t, func(t *testing.T) {
		h := networks{}
		log := slog.New(slog.DiscardHandler)
		d := NewTCP(TCPConfig{
			Listen: mooring + "443", PrefixLen6: 128, PerAddress: perAddress, Handler: NewWeb(Content{Handler: Pages()}, log),
			Clock: system, Log: log, ListenFunc: h.listen,
		})
		s := serviceOf("web", 128, d)
		s.update(t, terms, anyClient)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		f(t, s, h)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for address, n := range h {
			if n.listening.Load() {
				t.Errorf("listens on %s after Run has returned", address)
			}
		}
	})
}

func (h networks) port(number string) *network {
	if n := h[mooring+number]; n != nil {
		return n
	}
	return &network{}
}

var networksPolicy = LeasePolicy{OpenFor: 10 * time.Second, OpenMax: 25 * time.Second, Cut: true, Addresses: 8}

func TestRandomPortThatNobodyUses(t *testing.T) {
	withNetworks(t, networksPolicy, 8, func(t *testing.T, s *Service, h networks) {
		for _, step := range []struct{ fixed, lasts time.Duration }{{0, 10}, {3, 3}, {100, 25}} {
			err := s.Execute(Command{Grant: grant("com1", "192.0.2.1"), Port: 4711, For: step.fixed * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if h.port("443").listening.Load() {
				t.Error("the service's own port is open")
			}
			time.Sleep(step.lasts*time.Second - 1)
			synctest.Wait()
			if !h.port("4711").listening.Load() {
				t.Errorf("for %d s: closed too early", step.fixed)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if h.port("4711").listening.Load() {
				t.Errorf("for %d s: still open", step.fixed)
			}
		}
	})
}

// TestConnectionByARandomPort: it ends with the time of the command, whatever
// happens to other leases of the address; without Cut it continues until its
// client is revoked.
func TestConnectionByARandomPort(t *testing.T) {
	for _, cut := range []bool{true, false} {
		terms := networksPolicy
		terms.Cut = cut
		withNetworks(t, terms, 8, func(t *testing.T, s *Service, h networks) {
			s.Execute(Command{Grant: grant("com2", "192.0.2.1"), For: 5 * time.Second})
			if err := s.Execute(Command{Grant: grant("com1", "192.0.2.1"), Port: 4711}); err != nil {
				t.Fatal(err)
			}
			if stranger := h.port("4711").dial("192.0.2.2"); get(stranger, "/test1.html") != 0 {
				t.Error("a stranger was served")
			}
			c, own := h.port("4711").dial("192.0.2.1"), h.port("443").dial("192.0.2.1")
			synctest.Wait()
			if h.port("4711").listening.Load() {
				t.Error("open after the first connection")
			}
			if get(c, "/test1.html") != 200 || get(own, "/test1.html") != 200 {
				t.Fatal("not served")
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got := get(c, "/test1.html"); got != 200 {
				t.Errorf("after another client's lease: %d", got)
			}
			if got := get(own, "/test1.html"); (got == 200) == cut {
				t.Errorf("cut %v: by the service's own port: %d", cut, got)
			}
			s.Open(grant("com2", "192.0.2.1"))
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got := get(c, "/test1.html"); (got == 200) == cut {
				t.Errorf("cut %v: after the command's time: %d", cut, got)
			}
			if !cut {
				// It continues as it was granted, whatever the policy is now.
				terms.Cut = true
				s.update(t, terms, anyClient)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if got := get(c, "/test1.html"); got != 200 {
					t.Errorf("after other terms: %d", got)
				}
			}
			s.update(t, terms, func(id wire.Identifier) bool { return id != client(1) })
			if got := get(c, "/test1.html"); got != 0 {
				t.Errorf("revoked: %d", got)
			}
		})
	}
}

func TestCloseEndsRandomPorts(t *testing.T) {
	for _, cut := range []bool{true, false} {
		terms := networksPolicy
		terms.Cut = cut
		withNetworks(t, terms, 8, func(t *testing.T, s *Service, h networks) {
			command := Command{Grant: grant("com1", "192.0.2.1"), Port: 4711}
			s.Execute(command)
			c := h.port("4711").dial("192.0.2.1")
			synctest.Wait() // until the port has accepted it
			command.Port = 4712
			s.Execute(command)
			s.Execute(Command{Grant: grant("com2", "192.0.2.1"), Port: 4713})
			s.Execute(Command{Grant: command.Grant, Action: Close})
			if h.port("4712").listening.Load() {
				t.Error("open after the command to close")
			}
			if !h.port("4713").listening.Load() {
				t.Error("another client's port is closed")
			}
			if got := get(c, "/test1.html"); (got == 200) == cut {
				t.Errorf("cut %v: its connection: %d", cut, got)
			}
		})
	}
}

// TestRandomPortCountsConnections: they count as the service's connections; a
// connection refused because of the limit has not used the port.
func TestRandomPortCountsConnections(t *testing.T) {
	withNetworks(t, networksPolicy, 1, func(t *testing.T, s *Service, h networks) {
		s.Open(grant("com1", "192.0.2.1"))
		own := h.port("443").dial("192.0.2.1")
		if got := get(own, "/test1.html"); got != 200 {
			t.Fatalf("by the service's own port: %d", got)
		}
		s.Execute(Command{Grant: grant("com1", "192.0.2.1"), Port: 4711})
		if c := h.port("4711").dial("192.0.2.1"); get(c, "/test1.html") != 0 {
			t.Error("one too many was served")
		}
		own.Close()
		synctest.Wait()
		c := h.port("4711").dial("192.0.2.1")
		if got := get(c, "/test1.html"); got != 200 {
			t.Errorf("with room: %d", got)
		}
		if again := h.port("443").dial("192.0.2.1"); get(again, "/test1.html") != 0 {
			t.Error("a connection by a random port does not count")
		}
		c.Close()
		synctest.Wait()
		if got := get(h.port("443").dial("192.0.2.1"), "/test1.html"); got != 200 {
			t.Errorf("after it is closed: %d", got)
		}
	})
}
