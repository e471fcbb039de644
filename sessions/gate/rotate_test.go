package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// portHost is a host whose ports the fakes of drawn ports bind.
type portHost struct {
	foreign map[uint16]bool // other programs have them
	open    map[uint16]*fakePort
	made    int
	failing error // of the next Apply that opens
}

// fakePort is the enforcer of one port.
type fakePort struct {
	PortOpener
	host  *portHost
	port  uint16
	in    access.Set
	conns int
}

func (p *fakePort) Prepare() error {
	switch {
	case p.host.foreign[p.port], p.host.open[p.port] != nil && p.host.open[p.port] != p:
		return errors.New("in use")
	}
	p.host.open[p.port] = p
	return nil
}

func (p *fakePort) Apply(changes []access.Change) []error {
	if slices.ContainsFunc(changes, func(c access.Change) bool {
		return c.Peer.Port != 0 || c.LeaseOwners != nil && (*c.LeaseOwners)[0].From.Port != 0
	}) {
		panic("the enforcer of a port got a peer with a port")
	}
	tx := p.in.Begin(changes)
	if p.host.failing != nil {
		tx.Fail(p.host.failing)
	}
	return tx.Errs()
}

func (p *fakePort) Close() error {
	if p.host.open[p.port] == p {
		delete(p.host.open, p.port)
	}
	return nil
}

func (p *fakePort) busy() bool                              { return p.conns > 0 }
func (p *fakePort) Connections() int                        { return p.conns }
func (p *fakePort) CutOff(func(wire.Identifier) bool, bool) {}
func (p *fakePort) Owners(func(wire.Identifier))            {}
func (p *fakePort) peers() (n int)                          { return p.in.Len() }
func (r *Rotating) checkNow()                               { r.mu.Lock(); defer r.mu.Unlock(); r.check() }
func drawFrom(m schedule.Minute, s schedule.SecretName) uint16 {
	return uint16(10000 + 100*int(s) + 7*int(m%13))
}

// testDraw has candidates that several minutes share.
func testDraw(m schedule.Minute, s schedule.SecretName) (ports [schedule.Candidates]uint16, err error) {
	if s > 2 {
		return ports, errors.New("no such port secret")
	}
	for i := range ports {
		ports[i] = drawFrom(m, s) + uint16(i)
	}
	return ports, nil
}

type rotatingStage struct {
	host    *portHost
	clock   *clocktest.Host
	rotates *Rotating
	service *Service
}

func newRotatingStage(policy LeasePolicy) *rotatingStage {
	st := &rotatingStage{host: &portHost{foreign: map[uint16]bool{}, open: map[uint16]*fakePort{}}, clock: clocktest.NewHost()}
	log := slog.New(slog.DiscardHandler)
	st.rotates = NewRotating(RotatingConfig{
		Draw: testDraw, Clock: st.clock.Clock(), Log: log,
		Make: func(port uint16) DrawnPort {
			st.host.made++
			return &fakePort{host: st.host, port: port}
		},
	})
	st.service = NewService(ServiceConfig{
		Name: "web", PrefixLen6: access.PrefixHost, Policy: policy, Rotation: st.rotates, Prepare: st.rotates.Prepare,
		Enforcers: []access.Enforcer{st.rotates}, Clock: st.clock.Clock(), Log: log,
	})
	return st
}

func (st *rotatingStage) minute() schedule.Minute { return schedule.MinuteOf(st.clock.Clock().Wall()) }

func (st *rotatingStage) grant(id, address string, m schedule.Minute, s schedule.SecretName) error {
	g := grant(id, address)
	g.Minute, g.PortSecret = m, s
	return st.service.Open(g)
}

// allows reports whether a port is open for an address.
func (st *rotatingStage) allows(port uint16, address string) bool {
	p := st.host.open[port]
	return p != nil && p.in.Allows(netip.MustParseAddr(address), st.clock.Clock().Boot())
}

var rotatingPolicy = LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 3}

// TestRotatingPorts: each minute has its port, of which each lease keeps its own.
func TestRotatingPorts(t *testing.T) {
	st := newRotatingStage(rotatingPolicy)
	m := st.minute()
	first, second := drawFrom(m, 1), drawFrom(m-1, 1)
	if err := errors.Join(st.grant("com1", "192.0.2.1", m, 1), st.grant("com2", "192.0.2.2", m-1, 1)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		port    uint16
		address string
		want    bool
	}{{first, "192.0.2.1", true}, {second, "192.0.2.1", false}, {first, "192.0.2.2", false}, {second, "192.0.2.2", true}} {
		if st.allows(row.port, row.address) != row.want {
			t.Errorf("port %d lets %s in: %v", row.port, row.address, !row.want)
		}
	}
	// Another grant of the minute extends the lease. One of another minute is another lease.
	if err := errors.Join(st.grant("com1", "192.0.2.1", m, 1), st.grant("com1", "192.0.2.1", m-1, 1)); err != nil {
		t.Fatal(err)
	}
	if n := st.service.leases.Len(); n != 3 || !st.allows(first, "192.0.2.1") || !st.allows(second, "192.0.2.1") {
		t.Errorf("%d leases", n)
	}
	st.clock.Pass(15 * time.Second)
	st.service.sweep()
	if !st.allows(first, "192.0.2.1") || st.allows(second, "192.0.2.1") || st.allows(second, "192.0.2.2") {
		t.Error("the leases did not end at their times")
	}
	// A closing operation concerns all ports of the address.
	err := st.service.Execute(Command{Grant: grant("com1", "192.0.2.1"), Action: Close})
	if err != nil || st.allows(first, "192.0.2.1") {
		t.Errorf("still open: %v", err)
	}
}

// TestRotatingCandidates: a port that another program has is skipped; if all are taken,
// nothing opens; and the choice of a minute lasts.
func TestRotatingCandidates(t *testing.T) {
	st := newRotatingStage(rotatingPolicy)
	m := st.minute()
	port := drawFrom(m, 1)
	for i := range uint16(schedule.Candidates) {
		st.host.foreign[port+i] = true
	}
	if err := st.grant("com1", "192.0.2.1", m, 1); err == nil || !strings.Contains(err.Error(), "none of the 4 ports") {
		t.Fatalf("opened without a port: %v", err)
	}
	made := st.host.made
	if err := st.grant("com1", "192.0.2.1", m, 1); err == nil || st.host.made != made || st.service.leases.Len() != 0 {
		t.Fatalf("%d more attempts to bind at once (%v)", st.host.made-made, err)
	}
	delete(st.host.foreign, port+2)
	st.clock.Pass(retryTaken)
	if err := st.grant("com1", "192.0.2.1", m, 1); err != nil || !st.allows(port+2, "192.0.2.1") {
		t.Fatal(err)
	}
	// The first candidate is free again, and the minute keeps its port.
	delete(st.host.foreign, port)
	st.clock.Pass(20 * time.Second)
	st.service.sweep()
	err := st.grant("com2", "192.0.2.2", m, 1)
	if err != nil || !st.allows(port+2, "192.0.2.2") || st.host.open[port] != nil {
		t.Errorf("the minute has another port: %v", err)
	}
	if err := st.grant("com3", "192.0.2.3", m, 3); err == nil {
		t.Error("an unknown port secret opened")
	}
}

// TestRotatingPortsEnd: a port is held until its minute is over, and closed after the
// last lease and connection.
func TestRotatingPortsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newRotatingStage(rotatingPolicy)
		m := st.minute()
		port := drawFrom(m, 1)
		if err := st.grant("com1", "192.0.2.1", m, 1); err != nil {
			t.Fatal(err)
		}
		// The timer of the enforcer uses the ports under its lock.
		connect := func(n int) {
			st.rotates.mu.Lock()
			defer st.rotates.mu.Unlock()
			st.host.open[port].conns = n
		}
		held := func() *fakePort {
			st.rotates.mu.Lock()
			defer st.rotates.mu.Unlock()
			return st.host.open[port]
		}
		connect(1)
		time.Sleep(11 * time.Second)
		st.service.sweep()
		if p := held(); p == nil || p.peers() != 0 {
			t.Fatal("the port is not held")
		}
		time.Sleep((m + 1).Start().Add(rememberMinute).Sub(st.clock.Clock().Wall()) + 2*rotateCheck)
		synctest.Wait()
		if held() == nil {
			t.Fatal("closed before its connection")
		}
		connect(0)
		time.Sleep(rotateCheck)
		synctest.Wait()
		if held() != nil || len(st.host.open) != 0 || len(st.rotates.chosen) != 0 {
			t.Errorf("%d ports are open", len(st.host.open))
		}
		// A grant that was decided long ago: its port is bound again.
		if err := st.grant("com1", "192.0.2.1", m, 1); err != nil || !st.allows(port, "192.0.2.1") {
			t.Error(err)
		}
		st.service.close()
		if len(st.host.open) != 0 {
			t.Errorf("%d ports are open at the end", len(st.host.open))
		}
		if err := st.grant("com1", "192.0.2.1", m, 1); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// TestRotatingConnections: the connections of drawn ports count, and Each calls its
// function with what Make has returned.
func TestRotatingConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newRotatingStage(rotatingPolicy)
		m := st.minute()
		if err := st.grant("com1", "192.0.2.1", m, 1); err != nil {
			t.Fatal(err)
		}
		st.host.open[drawFrom(m, 1)].conns = 2
		if n := st.rotates.Connections(); n != 2 || !st.service.connected() {
			t.Errorf("%d connections", n)
		}
		ports := map[uint16]bool{}
		st.rotates.Each(func(p DrawnPort) { ports[p.(*fakePort).port] = true })
		if want := map[uint16]bool{0: true, drawFrom(m, 1): true}; !maps.Equal(ports, want) {
			t.Errorf("ports %v", ports)
		}
		st.service.close()
	})
}

// TestRotatingBound: a client has at most as many ports as addresses, and a service not
// more than maxDrawnPorts.
func TestRotatingBound(t *testing.T) {
	st := newRotatingStage(LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 3})
	st.rotates.draw = func(m schedule.Minute, _ schedule.SecretName) (ports [schedule.Candidates]uint16, err error) {
		return [schedule.Candidates]uint16{uint16(m % 50000)}, nil
	}
	m := st.minute()
	for i := range schedule.Minute(20) {
		if err := st.grant("com1", "192.0.2.1", m+i, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := st.service.leases.Len(); n != 3 {
		t.Errorf("a client has %d leases", n)
	}
	var err error
	for i := schedule.Minute(20); i < maxDrawnPorts+20 && err == nil; i++ {
		err = st.grant(fmt.Sprintf("c%03d", i%1000), "192.0.2.1", m+i, 1)
	}
	if err == nil || len(st.host.open) != maxDrawnPorts {
		t.Errorf("%d ports are open (%v)", len(st.host.open), err)
	}
	if err := st.grant("com2", "192.0.2.2", m+19, 1); err != nil {
		t.Errorf("the port of a minute that is open: %v", err)
	}
}

// TestRotatingUpdate: another port secret draws the ports of later grants; leases stay.
func TestRotatingUpdate(t *testing.T) {
	st := newRotatingStage(rotatingPolicy)
	m := st.minute()
	if st.grant("com1", "192.0.2.1", m, 3) == nil {
		t.Fatal("an unknown port secret opened")
	}
	if err := st.grant("com1", "192.0.2.1", m, 1); err != nil {
		t.Fatal(err)
	}
	st.rotates.Update(func(m schedule.Minute, s schedule.SecretName) ([schedule.Candidates]uint16, error) {
		return testDraw(m, s-1)
	})
	if err := st.grant("com2", "192.0.2.2", m, 3); err != nil || !st.allows(drawFrom(m, 2), "192.0.2.2") {
		t.Errorf("the new port secret opens nothing: %v", err)
	}
	if !st.allows(drawFrom(m, 1), "192.0.2.1") {
		t.Error("a lease has ended")
	}
}

// TestRotatingFails: a grant that fails opens nothing, and holds no port longer than its
// minute.
func TestRotatingFails(t *testing.T) {
	st := newRotatingStage(rotatingPolicy)
	m := st.minute()
	st.host.failing = errors.New("no")
	if err := st.grant("com1", "192.0.2.1", m, 1); !errors.Is(err, st.host.failing) || st.service.leases.Len() != 0 {
		t.Fatal(err)
	}
	st.host.failing = nil
	if err := st.service.Open(sessions.Grant{Identifier: wire.Identifier([]byte("com1"))}); err == nil {
		t.Error("a grant without an address opened")
	}
	errs := st.rotates.Apply([]access.Change{{Peer: access.PeerOf(netip.MustParseAddr("192.0.2.9"), 128), Until: st.clock.Clock().Boot().Add(time.Hour)}})
	if len(errs) != 1 || !errors.Is(errs[0], errNoDrawnPort) {
		t.Errorf("a peer without a port: %v", errs)
	}
	st.clock.Pass(2*rememberMinute + time.Minute)
	st.rotates.checkNow()
	if len(st.host.open) != 0 {
		t.Errorf("%d ports are open", len(st.host.open))
	}
}

// TestRotatingAgainstModel: each lease has its port, which is open for its address and
// for no other; a minute keeps its port; and ports that are not needed are closed.
func TestRotatingAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := newRotatingStage(rotatingPolicy)
		addresses := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}
		chosen := map[choice]uint16{}
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				c := choice{st.minute() + schedule.Minute(rapid.IntRange(-1, 1).Draw(t, "minute")), schedule.SecretName(rapid.IntRange(1, 2).Draw(t, "secret"))}
				id := fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client"))
				if st.grant(id, rapid.SampledFrom(addresses).Draw(t, "address"), c.minute, c.secret) != nil {
					candidates, _ := testDraw(c.minute, c.secret)
					if slices.ContainsFunc(candidates[:], func(p uint16) bool { return !st.host.foreign[p] }) && st.rotates.chosen[c].err == nil {
						t.Fatal("failed, and a port is free")
					}
					return
				}
				of := st.rotates.chosen[c]
				if before, ok := chosen[c]; ok && before != of.port {
					t.Fatalf("%v had port %d, and then %d", c, before, of.port)
				}
				chosen[c] = of.port
			},
			"pass": func(t *rapid.T) {
				st.clock.Pass(time.Duration(rapid.SampledFrom([]int{1, 9, 31, 61, 200}).Draw(t, "seconds")) * time.Second)
				st.service.sweep()
				for c := range chosen {
					if !st.clock.Clock().Wall().Before((c.minute + 1).Start().Add(rememberMinute)) {
						delete(chosen, c)
					}
				}
			},
			"foreign": func(t *rapid.T) {
				port := drawFrom(st.minute()+schedule.Minute(rapid.IntRange(0, 2).Draw(t, "minute")), 1) + uint16(rapid.IntRange(0, 3).Draw(t, "candidate"))
				if st.host.open[port] == nil {
					st.host.foreign[port] = !st.host.foreign[port]
				}
			},
			"connect": func(t *rapid.T) {
				for _, p := range st.host.open {
					p.conns = rapid.IntRange(0, 1).Draw(t, "connections")
				}
			},
			"revoke": func(t *rapid.T) {
				id := fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client"))
				st.service.revokeClients(func(of wire.Identifier) bool { return of.String() == id }, Revoked)
			},
			"": func(t *rapid.T) {
				st.rotates.checkNow()
				admitted := map[access.Peer]bool{}
				for _, le := range st.service.leases.byEnd {
					admitted[le.peer] = true
				}
				for port, p := range st.host.open {
					for peer := range p.in.Peers() {
						if peer.Port = port; !admitted[peer] {
							t.Fatalf("port %d is open for %s without a lease", port, peer)
						}
						delete(admitted, peer)
					}
				}
				if len(admitted) > 0 {
					t.Fatalf("leases without an open port: %v", admitted)
				}
				for port, p := range st.host.open {
					remembered := slices.ContainsFunc(slices.Collect(maps.Values(st.rotates.chosen)), func(of *chosenPort) bool { return of.port == port })
					if p.peers() == 0 && p.conns == 0 && !remembered {
						t.Fatalf("port %d is open for nothing", port)
					}
				}
			},
		})
	})
}
