package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

var (
	alice = netip.MustParseAddr("192.0.2.1")
	bob   = netip.MustParseAddr("2001:db8::2")
)

const minute = schedule.Minute(29_000_000)

type gateFunc func(Grant) error

func (f gateFunc) Open(grants []Grant) []error {
	errs := make([]error, len(grants))
	for i, g := range grants {
		g.Attempt = Attempt{} // see TestGrantNamesItsDatagrams
		errs[i] = f(g)
	}
	return errs
}

// change replaces the list of clients, as a reload does.
func (s *Sessions) change(ctx context.Context, clients []Client) error {
	commit, err := s.Prepare(withSecrets(clients))
	if err != nil {
		return err
	}
	return commit(ctx)
}

// withSecrets returns clients with the secrets that verifytest gives them.
func withSecrets(clients []Client) []Client {
	clients = slices.Clone(clients)
	for i := range clients {
		if s := &clients[i].Current; s.Fingerprint == 0 {
			s.Fingerprint = verifytest.Fingerprint(clients[i].Identifier)
		}
	}
	return clients
}

type journalFunc func([]Entry) error

func (f journalFunc) Record(e []Entry) []error { return each(f(e), len(e)) }

// each returns an error for each entry; nil without one.
func each(err error, entries int) []error {
	if err == nil {
		return nil
	}
	return slices.Repeat([]error{err}, entries)
}

// discardJournal accepts and discards every entry.
var discardJournal = journalFunc(func([]Entry) error { return nil })

// newTestShard returns a single shard without a limit. Its recorder does not run.
func newTestShard(gate Gate) *shard {
	r := newRecorder(discardJournal, gate, nil, slog.New(slog.DiscardHandler))
	return newShard(r, Config{Now: time.Now, Limit: unlimited})
}

// unlimited is a Limit that no test reaches.
var unlimited = Limit{Pause: 1, Burst: 1 << 30}

// run delivers knocks to fresh sessions inside a bubble and returns the
// grants and the outcomes.
func run(t *testing.T, cfg Config, deliver func(*Sessions)) (grants []Grant, stats [NumOutcomes]uint64) {
	synctest.Test(t, func(t *testing.T) {
		if cfg.Gate == nil {
			cfg.Gate = gateFunc(func(g Grant) error { grants = append(grants, g); return nil })
		}
		if cfg.Journal == nil {
			cfg.Journal = discardJournal
		}
		cfg.Log, cfg.Now, cfg.Clients = slog.New(slog.DiscardHandler), time.Now, withSecrets(cfg.Clients)
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		deliver(s)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		stats = s.Stats()
	})
	return grants, stats
}

func TestSequenceOpensForItsSource(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}}
	mapped := netip.MustParseAddr("::ffff:192.0.2.1")
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 0, 2), alice)
		s.Deliver(f.Knock(t, "com1", minute, 0, 0), mapped)
		s.Deliver(f.Knock(t, "com1", minute, 0, 1), alice)
	})
	want := Grant{Identifier: verifytest.ID("com1"), Address: alice, Minute: minute}
	if len(grants) != 1 || grants[0] != want {
		t.Errorf("grants %v, want one %v", grants, want)
	}
	if stats[Recorded] != 2 || stats[Opened] != 1 {
		t.Errorf("stats %v", stats)
	}
}

func TestKnocksThatDoNotOpen(t *testing.T) {
	f := verifytest.New(t, 3, "com1", "com2")
	id := func(s string) wire.Identifier { return verifytest.ID(s) }
	type step struct {
		id       string
		minute   schedule.Minute
		base     uint32
		sequence int
		source   netip.Addr
	}
	first, second := step{"com1", minute, 0, 0, alice}, step{"com1", minute, 0, 1, alice}
	third := step{"com1", minute, 0, 2, alice}
	four := []step{{"com1", minute, 3, 0, alice}, {"com1", minute, 6, 0, bob}, {"com1", minute, 9, 0, alice}, {"com1", minute, 12, 0, alice}}
	for _, row := range []struct {
		name  string
		used  uint32 // the highest nonce that is used
		steps []step
		want  Outcome // of the last step
	}{
		{"one missing", 0, []step{first, second}, Recorded},
		{"one twice", 0, []step{first, second, second}, Replay},
		{"below the highest nonce", 9, []step{{"com1", minute, 7, 0, alice}}, Replay},
		{"the highest nonce", 9, []step{{"com1", minute, 9, 0, alice}}, Replay},
		{"another address", 0, []step{first, second, {"com1", minute, 0, 2, bob}}, OtherSource},
		{"another minute", 0, []step{first, second, {"com1", minute + 1, 0, 2, alice}}, OtherMinute},
		{"a replaced attempt", 0, append([]step{first, second}, append(four, third)...), Replay},
		{"an older attempt", 0, append(four, third), Older},
		{"knocks of two attempts", 0, []step{first, second, {"com1", minute, 3, 2, alice}}, Recorded},
		{"overlapping bases", 0, []step{first, second, {"com1", minute, 1, 2, alice}}, Older},
		{"another client's knock", 0, []step{first, second, {"com2", minute, 0, 2, alice}}, Recorded},
		{"no slot", 0, []step{{"com2", minute, 0, 0, alice}}, Unknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			clients := []Client{{Identifier: id("com1"), Current: Secret{HighestNonce: row.used}}}
			if row.want != Unknown {
				clients = append(clients, Client{Identifier: id("com2")})
			}
			var before, after [NumOutcomes]uint64
			grants, _ := run(t, Config{Clients: clients}, func(s *Sessions) {
				for i, st := range row.steps {
					if i == len(row.steps)-1 {
						synctest.Wait()
						before = s.Stats()
					}
					s.Deliver(f.Knock(t, st.id, st.minute, st.base, st.sequence), st.source)
				}
				synctest.Wait()
				after = s.Stats()
			})
			if len(grants) != 0 {
				t.Errorf("opened: %v", grants)
			}
			before[row.want]++
			if after != before {
				t.Errorf("outcomes %v, want %v (%s)", after, before, row.want)
			}
		})
	}
}

func TestGateFailureIsCounted(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	cfg := Config{
		Clients: []Client{{Identifier: verifytest.ID("com1")}},
		Gate:    gateFunc(func(Grant) error { return errors.New("stuck") }),
	}
	_, stats := run(t, cfg, func(s *Sessions) { s.Deliver(f.Knock(t, "com1", minute, 0, 0), alice) })
	if stats[Failed] != 1 || stats[Opened] != 1 {
		t.Errorf("stats %v", stats)
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	s, err := New(Config{
		Clients: withSecrets([]Client{{Identifier: verifytest.ID("com1")}}),
		Gate:    gateFunc(func(Grant) error { return nil }),
		Journal: discardJournal,
		Now:     time.Now,
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	k := f.Knock(t, "com1", minute, 0, 0)
	for range queueSize + 10 {
		s.Deliver(k, alice)
	}
	if stats := s.Stats(); stats[QueueFull] != 10 || len(s.shards[0].queue) != queueSize {
		t.Errorf("stats %v", stats)
	}
}

func TestDeliverDoesNotAllocate(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	s, err := New(Config{
		Clients: withSecrets([]Client{{Identifier: verifytest.ID("com1")}}),
		Gate:    gateFunc(func(Grant) error { return nil }),
		Journal: discardJournal, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := arrival{f.Knock(t, "com1", minute, 0, 0), alice}
	if n := testing.AllocsPerRun(100, func() {
		s.Deliver(a.knock, a.source)
		s.shards[0].handle(<-s.shards[0].queue)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestUpdate: a client that stays keeps its used nonces, a removed client gets
// nothing, and a new client has no state.
func TestUpdate(t *testing.T) {
	f := verifytest.New(t, 2, "stay", "left", "came")
	id := func(s string) wire.Identifier { return verifytest.ID(s) }
	cfg := Config{Clients: []Client{{Identifier: id("stay")}, {Identifier: id("left")}}, Shards: 3}
	grants, stats := run(t, cfg, func(s *Sessions) {
		// Half an attempt each, then the change, then the other half.
		for _, c := range []string{"stay", "left", "came"} {
			s.Deliver(f.Knock(t, c, minute, 10, 0), alice)
		}
		synctest.Wait()
		list := []Client{{Identifier: id("stay"), Current: Secret{HighestNonce: 5}}, {Identifier: id("came")}}
		if err := s.change(context.Background(), list); err != nil {
			t.Error(err)
		}
		twice := []Client{{Identifier: id("stay")}, {Identifier: id("stay")}}
		if err := s.change(context.Background(), twice); err == nil {
			t.Error("a duplicate accepted")
		}
		for _, c := range []string{"stay", "left", "came"} {
			s.Deliver(f.Knock(t, c, minute, 10, 1), alice)
		}
		s.Deliver(f.Knock(t, "stay", minute, 10, 0), alice)
		synctest.Wait()
		// A HighestNonce above that of the window counts.
		list[0].Current.HighestNonce = 100
		if err := s.change(context.Background(), list); err != nil {
			t.Error(err)
		}
		s.Deliver(f.Knock(t, "stay", minute, 99, 1), alice)
	})
	if want := (Grant{Identifier: id("stay"), Address: alice, Minute: minute}); len(grants) != 1 || grants[0] != want {
		t.Errorf("grants %v", grants)
	}
	want := [NumOutcomes]uint64{Recorded: 3, Opened: 1, Replay: 2, Unknown: 2}
	if stats != want {
		t.Errorf("outcomes %v, want %v", stats, want)
	}
}

func TestUpdateOfSessionsThatHaveStopped(t *testing.T) {
	s, err := New(Config{
		Gate:    gateFunc(func(Grant) error { return nil }),
		Journal: discardJournal, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.change(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	c := withSecrets([]Client{{Identifier: verifytest.ID("com1")}})[0]
	gate := gateFunc(func(Grant) error { return nil })
	log, twice := slog.New(slog.DiscardHandler), []Client{c, c}
	for name, cfg := range map[string]Config{
		"a duplicate": {Clients: twice, Shards: 4, Gate: gate, Journal: discardJournal, Now: time.Now, Log: log},
		"no secret":   {Clients: []Client{{Identifier: verifytest.ID("com1")}}, Gate: gate, Journal: discardJournal, Now: time.Now, Log: log},
		"no gate":     {Journal: discardJournal, Now: time.Now, Log: log},
		"no clock":    {Gate: gate, Journal: discardJournal, Log: log},
		"no journal":  {Gate: gate, Now: time.Now, Log: log},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

// TestNeverOpensWithoutAll draws attempts of several clients, addresses and
// minutes, and delivers their knocks in any order, with loss and duplication.
// A model of the delivered knocks decides which attempts may open.
func TestNeverOpensWithoutAll(t *testing.T) {
	ids := []string{"com1", "com2"}
	forges := map[int]verifytest.Sequences{}
	for n := 1; n <= 5; n++ {
		forges[n] = verifytest.New(t, n, ids...)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		f := forges[n]
		type delivery struct {
			id       string
			minute   schedule.Minute
			base     uint32
			source   netip.Addr
			sequence int
		}
		gen := rapid.Custom(func(t *rapid.T) delivery {
			return delivery{
				id:       rapid.SampledFrom(ids).Draw(t, "id"),
				minute:   minute + schedule.Minute(rapid.IntRange(0, 1).Draw(t, "minute")),
				base:     rapid.Uint32Range(0, 12).Draw(t, "base"),
				source:   rapid.SampledFrom([]netip.Addr{alice, alice, alice, bob}).Draw(t, "source"),
				sequence: rapid.IntRange(0, n-1).Draw(t, "sequence"),
			}
		})
		shards := map[string]*shard{}
		var opened *Grant
		gate := gateFunc(func(g Grant) error { opened = &g; return nil })
		for _, id := range ids {
			shards[id] = newTestShard(gate)
			shards[id].replace(withSecrets([]Client{{Identifier: verifytest.ID(id)}}))
		}
		type attempt struct {
			id     string
			minute schedule.Minute
			base   uint32
			source netip.Addr
		}
		delivered := map[attempt]map[int]bool{}
		usedNonces := map[string]bool{}
		for _, d := range rapid.SliceOfN(gen, 0, 120).Draw(t, "deliveries") {
			a := attempt{d.id, d.minute, d.base, d.source}
			if delivered[a] == nil {
				delivered[a] = map[int]bool{}
			}
			delivered[a][d.sequence] = true
			opened = nil
			shards[d.id].handle(arrival{f.Knock(t, d.id, d.minute, d.base, d.sequence), d.source})
			shards[d.id].recorder.drain()
			if opened == nil {
				continue
			}
			if opened.Identifier.String() != d.id || opened.Address != d.source {
				t.Fatalf("opened %v for %+v", *opened, d)
			}
			if len(delivered[a]) != n {
				t.Fatalf("opened after %d of %d knocks", len(delivered[a]), n)
			}
			for i := range n {
				key := fmt.Sprint(d.id, d.base+uint32(i))
				if usedNonces[key] {
					t.Fatalf("nonce %d of %s opened twice", d.base+uint32(i), d.id)
				}
				usedNonces[key] = true
			}
		}
	})
}

// TestAlwaysOpensInAnyOrder: with reordering and duplication, but no loss, at
// least one of consecutive attempts opens.
func TestAlwaysOpensInAnyOrder(t *testing.T) {
	f := verifytest.New(t, 4, "com1")
	rapid.Check(t, func(t *rapid.T) {
		grants := 0
		gate := gateFunc(func(Grant) error { grants++; return nil })
		s := newTestShard(gate)
		s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
		var knocks []verify.Knock
		attempts := rapid.IntRange(1, 3).Draw(t, "attempts")
		for a := range attempts {
			for i := range 4 {
				k := f.Knock(t, "com1", minute, uint32(a*4), i)
				knocks = append(knocks, k)
				if rapid.Bool().Draw(t, "twice") {
					knocks = append(knocks, k)
				}
			}
		}
		for _, k := range rapid.Permutation(knocks).Draw(t, "order") {
			s.handle(arrival{k, alice})
			s.recorder.drain()
		}
		if grants < 1 || grants > attempts {
			t.Fatalf("%d attempts opened %d times", attempts, grants)
		}
	})
}

// BenchmarkSession measures a shard's work for an authenticated knock.
func BenchmarkSession(b *testing.B) {
	f := verifytest.New(b, 3, "com1")
	for name, replayed := range map[string]bool{"knock=fresh": false, "knock=replay": true} {
		b.Run(name, func(b *testing.B) {
			s := newTestShard(gateFunc(func(Grant) error { return nil }))
			s.boot = func() time.Time { return time.Time{} } // it is read once for many knocks
			list := withSecrets([]Client{{Identifier: verifytest.ID("com1"), Current: Secret{Floor: new(verify.Floor)}}})
			s.replace(list)
			arrivals := make([]arrival, 4096)
			for i := range arrivals {
				arrivals[i] = arrival{f.Knock(b, "com1", minute, uint32(3*i), 0), alice} // never a whole sequence
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(arrivals) == 0 && !replayed {
					s.clients[0] = client{current: newWindow(list[0], list[0].Current, 0)}
				}
				s.handle(arrivals[i%len(arrivals)])
			}
		})
	}
}
