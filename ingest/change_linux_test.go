package ingest

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// fakeTier is a tier before the sockets. Set fails if fail returns true.
type fakeTier struct {
	name string
	mu   sync.Mutex
	last prefilter.Table
	fail func(prefilter.Table) bool // nil: never
}

var errTier = errors.New("the tier is broken")

func (f *fakeTier) Set(t prefilter.Table) (prefilter.Level, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil && f.fail(t) {
		return prefilter.None, errTier
	}
	f.last = t
	return prefilter.Clients, nil
}

func (f *fakeTier) Counts() TierCounts { return TierCounts{Name: f.name} }
func (f *fakeTier) Close() error       { return nil }

func (f *fakeTier) failIf(fail func(prefilter.Table) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// The calls of Set during a change, by the table: that of both settings, of the
// new ones, and, if the change is refused, of the old ones again.
func always(prefilter.Table) bool { return true }

func wider(t prefilter.Table) bool {
	old, _ := portsOf(3)(minute)
	return len(t.Ports[newPort(minute)]) > 0 && len(t.Ports[old[0]]) > 0
}

func narrower(t prefilter.Table) bool { return !wider(t) }

func (f *fakeTier) table() prefilter.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// com2 is the client that only the new settings have. Their ports differ too.
var com2 = verifytest.ID("com2")

func changedSettings(t testing.TB) Settings {
	t.Helper()
	return Settings{Rules: verify.Rules{Table: verifytest.Table(t, verifytest.Clients("com1", "com2")...), Ports: 3, Tolerance: time.Minute}, Ports: func(m schedule.Minute) ([][]uint16, error) {
		ports, _ := portsOf(3)(m)
		return [][]uint16{{newPort(m), ports[1], ports[2]}}, nil
	}}
}

// newPort returns the port that only the new settings have.
func newPort(m schedule.Minute) uint16 { return uint16(30_000 + m%100) }

func knockOf(t testing.TB, id wire.Identifier) []byte {
	t.Helper()
	return verifytest.Sign(t, wire.Knock{Maximum: 2, Identifier: id, Timestamp: uint32(minute*60 + 30), Nonce: 100})
}

// startWithTiers starts a receiver with tiers before its sockets.
func startWithTiers(t *testing.T, tiers ...*fakeTier) testReceiver {
	t.Helper()
	return startReceiver(t, 3, func(*Config) {}, func(s *Receiver) {
		for _, f := range tiers {
			s.fronts = append(s.fronts, &front{tier: f})
		}
	}, loop4)
}

// checkInForce checks that the ports, the sockets and all tiers apply the old or the new settings.
func (ts testReceiver) checkInForce(t *testing.T, newOnes bool, tiers ...*fakeTier) {
	t.Helper()
	old, _ := portsOf(3)(minute)
	open := func(port uint16) bool {
		l, err := net.ListenPacket("udp4", netip.AddrPortFrom(loop4, port).String())
		if err == nil {
			l.Close()
		}
		return err != nil
	}
	if open(old[0]) == newOnes || open(newPort(minute)) != newOnes {
		t.Errorf("the old port is open: %v, the new one: %v", open(old[0]), open(newPort(minute)))
	}
	before := ts.Stats()
	send(t, loop4, old[1], knock(t, minute, 1, 2)) // good under both
	if got := <-ts.sink; got.knock.Identifier() != com1 {
		t.Errorf("got %s", got.knock.Identifier())
	}
	port := old[0]
	if newOnes {
		port = newPort(minute)
	}
	send(t, loop4, port, knockOf(t, com2))
	if newOnes {
		if got := <-ts.sink; got.knock.Identifier() != com2 {
			t.Errorf("got %s", got.knock.Identifier())
		}
	} else {
		if ts.refresh(t); ts.Stats().Kernel != before.Kernel+1 {
			t.Errorf("the new client was not refused: %+v", ts.Stats())
		}
	}
	for _, f := range tiers {
		got := f.table()
		if _, has := got.Ports[newPort(minute)]; has != newOnes || len(got.Ports[old[0]]) > 0 == newOnes {
			t.Errorf("%s: its table has the new port: %v", f.name, has)
		}
	}
}

func TestPrepareThenCommit(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	tier := &fakeTier{name: "tier"}
	s := startWithTiers(t, tier)
	s.checkInForce(t, false, tier)
	commit, abort, err := s.Prepare(t.Context(), changedSettings(t))
	if err != nil {
		t.Fatal(err)
	}
	// The new port is open, but accepts nothing from any client. The old ports do.
	old, _ := portsOf(3)(minute)
	before := s.Stats()
	for i, id := range []wire.Identifier{com1, com2} {
		send(t, loop4, newPort(minute), knockOf(t, id))
		if s.refresh(t); s.Stats().Kernel != before.Kernel+uint64(i+1) {
			t.Errorf("%s was not refused: %+v", id, s.Stats())
		}
	}
	send(t, loop4, old[0], knock(t, minute, 0, 2))
	<-s.sink
	got := tier.table()
	if len(got.Ports[old[0]]) == 0 || len(got.Ports[newPort(minute)]) == 0 || got.Accepts(newPort(minute), knockOf(t, com2)) != verify.Authentic {
		t.Errorf("the tier does not accept what either settings accept: %v", got)
	}
	if _, _, err := s.Prepare(t.Context(), changedSettings(t)); !errors.Is(err, errPrepared) {
		t.Errorf("a second change: %v", err)
	}
	// The minute may turn while a change is prepared.
	s.clock.Set((minute + 1).Start())
	if s.refresh(t); len(tier.table().Ports[newPort(minute+2)]) == 0 {
		t.Error("the new ports did not turn with the minute")
	}
	s.clock.Set(minute.Start().Add(30 * time.Second))
	if err := commit(); err != nil {
		t.Fatal(err)
	}
	s.checkInForce(t, true, tier)
	if err := commit(); err == nil {
		t.Error("committed twice")
	}
	abort() // too late
	s.checkInForce(t, true, tier)
}

func TestPrepareThenAbort(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	tier := &fakeTier{name: "tier"}
	s := startWithTiers(t, tier)
	commit, abort, err := s.Prepare(t.Context(), changedSettings(t))
	if err != nil {
		t.Fatal(err)
	}
	abort()
	s.checkInForce(t, false, tier)
	if err := commit(); err == nil {
		t.Error("committed after abort")
	}
	if err := s.apply(changedSettings(t)); err != nil {
		t.Fatal(err)
	}
	s.checkInForce(t, true, tier)
}

// TestTierThatFailsDuringAChange, at each call: the old settings stay in force
// everywhere, or, where nothing but narrowing is left, the new ones are. A later
// change succeeds.
func TestTierThatFailsDuringAChange(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, row := range []struct {
		name          string
		first, second func(prefilter.Table) bool // when each tier fails
		refused, warn bool
	}{
		{"the first tier, preparing", wider, nil, true, false},
		{"the first tier, at all calls", always, nil, true, true},
		{"the second tier, preparing", nil, wider, true, false},
		{"the second tier, and the first one when it is narrowed again", narrower, wider, true, true},
		{"the first tier, narrowing", narrower, nil, false, true},
		{"the second tier, narrowing", nil, narrower, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			first, second := &fakeTier{name: "first"}, &fakeTier{name: "second"}
			s := startWithTiers(t, first, second)
			first.failIf(row.first)
			second.failIf(row.second)
			err := s.apply(changedSettings(t))
			if refused := errors.Is(err, errTier); refused != row.refused || !refused && err != nil {
				t.Fatalf("got %v", err)
			}
			first.failIf(nil)
			second.failIf(nil)
			s.refresh(t) // as the rotation does every second
			s.checkInForce(t, !row.refused, first, second)
			if err := s.apply(changedSettings(t)); err != nil {
				t.Fatal(err)
			}
			s.checkInForce(t, true, first, second)
			s.stop()
			if warned := strings.Contains(s.log.String(), "failed to narrow"); warned != row.warn {
				t.Errorf("log:\n%s", s.log)
			}
		})
	}
}

// TestKnockSetThatRefusesTheNewPorts: the change is refused, and the firewall
// keeps the old ports.
func TestKnockSetThatRefusesTheNewPorts(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var mu sync.Mutex
	var last map[uint16]time.Time
	refuse := true
	s := startWith(t, 3, func(c *Config) {
		c.PortsChanged = func(open map[uint16]time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			if _, has := open[newPort(minute)]; has && refuse {
				return errTier
			}
			last = open
			return nil
		}
	}, loop4)
	before := maps.Clone(last)
	if err := s.apply(changedSettings(t)); !errors.Is(err, errTier) {
		t.Fatalf("got %v", err)
	}
	s.checkInForce(t, false)
	mu.Lock()
	if !maps.Equal(last, before) {
		t.Errorf("the firewall has %v, before it had %v", last, before)
	}
	refuse = false
	mu.Unlock()
	if err := s.apply(changedSettings(t)); err != nil {
		t.Fatal(err)
	}
	s.checkInForce(t, true)
	mu.Lock()
	defer mu.Unlock()
	if _, has := last[newPort(minute)]; !has {
		t.Errorf("the firewall has %v", last)
	}
}

func TestTierThatFailsWhenTheMinuteTurnsEndsRun(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	c := &clock{now: minute.Start()}
	s, err := New(Config{Settings: Settings{Rules: rules(t, 3), Ports: listsOf(3)}, Sink: make(sink), Now: c.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tier := &fakeTier{}
	s.fronts = append(s.fronts, &front{tier: tier})
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	<-s.Ready()
	tier.failIf(always)
	c.Set((minute + 1).Start())
	// The rotation may have refreshed by itself before.
	if err := s.runInRotation(t.Context(), (*rotation).refresh); !errors.Is(err, errTier) && !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
	if err := <-done; !errors.Is(err, errTier) {
		t.Errorf("Run: got %v", err)
	}
	if _, _, err := s.Prepare(t.Context(), changedSettings(t)); !errors.Is(err, errEnded) {
		t.Errorf("a change after the end: %v", err)
	}
}
