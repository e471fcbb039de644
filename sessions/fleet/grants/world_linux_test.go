package grants

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

const (
	knocks    = 3
	tolerance = 30 * time.Second
	openFor   = time.Minute
	patient   = 30 * time.Second // no timeout is the subject
)

var alice = netip.MustParseAddr("192.0.2.1")

// disk is a local journal that takes everything.
type disk struct{}

func (disk) Record([]sessions.Entry) []error { return nil }

// gateway is one gateway of a fleet. Its gate is a list of what it was asked to do.
type gateway struct {
	name    string
	way     *etcdtest.Gateway
	journal *fleet.Journal
	grants  *Grants
	ahead   atomic.Int64 // of the clock
	mute    atomic.Bool  // the record does not answer

	mu      sync.Mutex
	opened  []gate.SharedGrant
	revoked []sessions.Grant
	closed  []sessions.Closing
}

func (g *gateway) wall() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) }

// OpenShared implements Gate.
func (g *gateway) OpenShared(list []gate.SharedGrant) []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = append(g.opened, list...)
	return nil
}

// CloseShared implements Gate.
func (g *gateway) CloseShared(x sessions.Grant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.revoked = append(g.revoked, x)
}

// SharedFor implements Gate.
func (g *gateway) SharedFor(id wire.Identifier) time.Duration {
	if id == verifytest.ID("none") {
		return 0
	}
	return openFor
}

// Known implements Record.
func (g *gateway) Known(id wire.Identifier, secret verify.Fingerprint, base uint32, count int) bool {
	return !g.mute.Load() && g.journal.Known(id, secret, base, count)
}

// Recorded implements Record.
func (g *gateway) Recorded(ctx context.Context, id wire.Identifier, secret verify.Fingerprint, base uint32, count int) (bool, error) {
	if g.mute.Load() {
		return false, errors.New("no answer")
	}
	return g.journal.Recorded(ctx, id, secret, base, count)
}

func (g *gateway) close(all []sessions.Closing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = append(g.closed, all...)
}

// clients are those of all gateways. Client "none" may open no shared service.
var clients = []string{"com1", "com2", "com3", "com4", "none"}

// start starts a gateway, which ends with the test.
func start(t *testing.T, e *etcdtest.Cluster, name string) *gateway {
	t.Helper()
	g := &gateway{name: name, way: e.Gateway(t)}
	var err error
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	g.journal, err = fleet.Open(fleet.Config{
		Cluster: cluster.Config{Endpoints: g.way.Endpoints(), Log: slog.New(slog.DiscardHandler)}, Dir: t.TempDir(), Local: disk{},
		Registered: func(wire.Identifier) bool { return true }, Wall: g.wall, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	table := verifytest.Table(t, verifytest.Clients(clients...)...)
	g.grants, err = New(Config{
		Gateway: name, Cluster: g.journal.Cluster(), Record: g, Gate: g, Close: g.close, Wall: g.wall, Log: log,
		Policy: func() Policy { return Policy{Table: table, Ports: knocks, Tolerance: tolerance} },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.grants.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); g.journal.Close() })
	return g
}

// attempt returns the attempt of a client, stamped now and a time.
func attempt(client string, base uint32, stamped time.Duration) sessions.Attempt {
	return sessions.Attempt{
		Secret: verifytest.Fingerprint(verifytest.ID(client)), Base: base, Count: knocks,
		Timestamp: uint32(time.Now().Add(stamped).Unix()),
	}
}

// record records the nonces of an attempt.
func (g *gateway) record(t *testing.T, client string, a sessions.Attempt) {
	t.Helper()
	var w replay.Window
	for n := range uint32(a.Count) {
		w.Accept(a.Base + n)
	}
	entry := sessions.Entry{
		Identifier: verifytest.ID(client), Secret: a.Secret, HighestNonce: a.Base + uint32(a.Count) - 1, Ring: w.Ring(),
		Stamp: a.Timestamp, Base: a.Base, Count: a.Count,
	}
	for {
		errs := g.journal.Record([]sessions.Entry{entry})
		if errs == nil {
			return
		}
		if t.Context().Err() != nil || errors.Is(errs[0], sessions.ErrUsed) {
			t.Fatal(errs)
		}
	}
}

// knock grants a client's attempt at the gateway, as sessions does.
func (g *gateway) knock(t *testing.T, client string, base uint32, stamped time.Duration) sessions.Attempt {
	t.Helper()
	a := attempt(client, base, stamped)
	g.record(t, client, a)
	g.send(client, a)
	return a
}

// send grants an attempt that is recorded.
func (g *gateway) send(client string, a sessions.Attempt) {
	g.grants.Open([]sessions.Grant{{Identifier: verifytest.ID(client), Address: alice, Attempt: a}})
}

// opens returns the clients for which the gateway was asked to open.
func (g *gateway) opens() (clients []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, x := range g.opened {
		clients = append(clients, x.Identifier.String())
	}
	return clients
}

func (g *gateway) closes() (revoked, closed []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, x := range g.revoked {
		revoked = append(revoked, x.Identifier.String())
	}
	for _, x := range g.closed {
		closed = append(closed, x.Identifier.String())
	}
	return revoked, closed
}

func (g *gateway) has(o Outcome) uint64 { return g.grants.Stats()[o] }

// wait waits until a condition holds.
func wait(t *testing.T, what string, holds func() bool, notes ...*gateway) {
	t.Helper()
	end := time.Now().Add(patient)
	for !holds() {
		if time.Now().After(end) {
			for _, g := range notes {
				t.Logf("%s: %v", g.name, g.grants.Stats())
			}
			t.Fatalf("%s: does not come", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// expect waits until the gateway has opened for these clients, in this order.
func (g *gateway) expect(t *testing.T, what string, clients ...string) {
	t.Helper()
	wait(t, what, func() bool { return len(g.opens()) >= len(clients) }, g)
	if got := g.opens(); !slices.Equal(got, clients) {
		t.Fatalf("%s: opened for %v, want %v", what, got, clients)
	}
}
