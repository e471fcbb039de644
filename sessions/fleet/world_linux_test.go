package fleet

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

const (
	minute  = schedule.Minute(28_333_333)
	patient = time.Minute // no timeout is the subject
)

var alice = netip.MustParseAddr("192.0.2.1")

// wall is the clock of the gateways: the time of the knocks.
func wall() time.Time { return minute.Start() }

// disk is a local journal that takes everything.
type disk struct{}

func (disk) Record([]sessions.Entry) []error { return nil }

// gateway is sessions with a journal on etcd.
type gateway struct {
	t        *testing.T
	way      *etcdtest.Gateway
	dir      string
	journal  *Journal
	sessions *sessions.Sessions
	stop     func()
	closed   bool

	mu     sync.Mutex
	grants map[wire.Identifier]int
}

// Open implements sessions.Gate.
func (g *gateway) Open(list []sessions.Grant) []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, x := range list {
		g.grants[x.Identifier]++
	}
	return nil
}

func (g *gateway) granted(id string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.grants[verifytest.ID(id)]
}

func openJournal(t testing.TB, way *etcdtest.Gateway, dir string, timeout time.Duration) *Journal {
	t.Helper()
	j, err := Open(Config{
		Cluster: cluster.Config{Endpoints: way.Endpoints(), Timeout: timeout, Log: slog.New(slog.DiscardHandler)}, Dir: dir, Local: disk{},
		Registered: func(wire.Identifier) bool { return true }, Wall: wall, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// start starts a gateway with clients, which ends with the test.
func start(t *testing.T, e *etcdtest.Cluster, timeout time.Duration, ids ...string) *gateway {
	t.Helper()
	g := &gateway{t: t, way: e.Gateway(t), dir: t.TempDir(), grants: map[wire.Identifier]int{}}
	g.begin(timeout, ids...)
	t.Cleanup(func() { g.end() })
	return g
}

func (g *gateway) begin(timeout time.Duration, ids ...string) {
	g.t.Helper()
	g.journal = openJournal(g.t, g.way, g.dir, timeout)
	var list []sessions.Client
	for _, id := range ids {
		list = append(list, sessions.Client{
			Identifier: verifytest.ID(id), Current: sessions.Secret{Fingerprint: verifytest.Fingerprint(verifytest.ID(id))},
		})
	}
	var err error
	g.sessions, err = sessions.New(sessions.Config{
		Clients: list, Shards: 2, Gate: g, Journal: g.journal, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Limit: sessions.Limit{Pause: 1, Burst: 1 << 30},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.sessions.Run(ctx) })
	wg.Go(func() { g.journal.Run(ctx, g.sessions.Learn) })
	g.stop = func() { cancel(); wg.Wait() }
	g.closed = false
}

func (g *gateway) end() {
	if g.closed {
		return
	}
	g.closed = true
	g.stop()
	if err := g.journal.Close(); err != nil {
		g.t.Error(err)
	}
}

// knock delivers an attempt, or the named knocks of it.
func (g *gateway) knock(f verifytest.Sequences, id string, base uint32, which ...int) {
	if len(which) == 0 {
		which = []int{0, 1, 2}
	}
	var list []verify.Knock
	for _, i := range which {
		list = append(list, f.Knock(g.t, id, minute, base, i))
	}
	g.deliver(list)
}

func (g *gateway) deliver(list []verify.Knock) {
	for _, k := range list {
		g.sessions.Deliver(k, alice)
	}
}

// outcomes returns how many attempts have ended: opened, or refused as used, or not
// recorded.
func (g *gateway) outcomes() (opened, used, unrecorded uint64) {
	s := g.sessions.Stats()
	return s[sessions.Opened], s[sessions.UsedElsewhere] + s[sessions.Replay]/3, s[sessions.Unrecorded]
}

// wait waits until a condition holds.
func wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(patient)
	for !holds() {
		if time.Now().After(end) {
			t.Fatalf("%s: does not come", what)
		}
		time.Sleep(time.Millisecond)
	}
}
