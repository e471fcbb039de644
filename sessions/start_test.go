package sessions

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/clock/clocktest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// stamped returns an authentic knock of the client "com1", the only one of its
// sequence.
func stamped(t verifytest.TB, nonce uint32, at time.Time) verify.Knock {
	t.Helper()
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	v := verify.New(verify.Rules{Table: table, Ports: 1, Tolerance: time.Minute})
	minute := schedule.MinuteOf(at)
	k, reason := v.Verify(verifytest.Sign(t, wire.Knock{
		Identifier: verifytest.ID("com1"), Timestamp: uint32(at.Unix()), Nonce: nonce,
	}), []schedule.Place{{Minute: minute}}, at.Unix())
	if reason != verify.Authentic {
		t.Fatalf("%v", reason)
	}
	return k
}

// started runs sessions of the client "com1" on a host until the test ends.
func started(t *testing.T, host *clocktest.Host, start Start) (s *Sessions, granted func() bool) {
	t.Helper()
	clock, grants := host.Clock(), 0
	start.Wall = clock.Wall
	s, err := New(Config{
		Clients: withSecrets([]Client{{Identifier: verifytest.ID("com1")}}), Start: &start, Journal: discardJournal,
		Now: clock.Boot, Log: slog.New(slog.DiscardHandler), Limit: unlimited,
		Gate: gateFunc(func(Grant) error { grants++; return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return s, func() bool {
		synctest.Wait()
		defer func() { grants = 0 }()
		return grants > 0
	}
}

// TestStart: knocks stamped up to the second of the start are refused, whatever
// the wall clock shows later, and all knocks that arrive before Begin.
func TestStart(t *testing.T) {
	margin := Start{NotBeforeMargin: time.Minute}
	lost := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC) // an hour after a bubble begins
	for _, row := range []struct {
		name  string
		start Start
		step  time.Duration // after the start
		stamp time.Duration // from the start's second
		want  bool
	}{
		{"the second before", Start{}, 0, -time.Second, false},
		{"its second", Start{}, 0, 0, false},
		{"the next second", Start{}, 0, time.Second, true},
		{"fresh", Start{Fresh: true}, 0, -30 * time.Second, true},
		{"in the margin", margin, 0, time.Minute, false},
		{"after the margin", margin, 0, 61 * time.Second, true},
		{"a clock that was behind", Start{}, time.Hour, time.Hour, false},
		{"and is right", Start{}, time.Hour, time.Hour + time.Second, true},
		{"a clock that was ahead", Start{}, -time.Hour, -time.Hour, false},
		{"and is right again", Start{}, -time.Hour, -time.Hour + time.Second, true},
		{"a clock that was ahead, with a margin", margin, -time.Hour, -time.Hour + 61*time.Second, true},
		{"lost until this stamp", Start{LostUntil: lost}, time.Hour, time.Hour, false},
		{"the stamp after it", Start{LostUntil: lost}, time.Hour, time.Hour + time.Second, true},
		{"lost, and a fresh start", Start{LostUntil: lost, Fresh: true}, 0, time.Minute, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := clocktest.NewHost()
				s, granted := started(t, host, row.start)
				if s.Deliver(stamped(t, 1, time.Now().Add(2*time.Hour)), alice); granted() != row.start.Fresh {
					t.Error("before Begin")
				}
				time.Sleep(300 * time.Millisecond)
				if _, _, err := s.Begin(t.Context()); err != nil {
					t.Fatal(err)
				}
				second := host.Clock().Wall().Truncate(time.Second)
				time.Sleep(500 * time.Millisecond)
				host.Step(row.step)
				s.Deliver(stamped(t, 2, second.Add(row.stamp)), alice)
				if got := granted(); got != row.want {
					t.Errorf("opened: %t", got)
				}
				// The nonce of a refused knock is used, also if the clock is set back.
				host.Step(-4 * time.Hour)
				s.Deliver(stamped(t, 2, second.Add(row.stamp)), alice)
				if granted() {
					t.Error("accepted after a step back")
				}
			})
		})
	}
}

// TestNewInTheList: of a client that is added or readded, or has a new secret, knocks stamped
// after that are accepted. A client that stays is not delayed.
func TestNewInTheList(t *testing.T) {
	for name, lists := range map[string][][]Client{
		"once more":      {{}, {{Identifier: verifytest.ID("com1")}}},
		"another secret": {{{Identifier: verifytest.ID("com1"), Readded: true}}},
		"a new secret":   {{{Identifier: verifytest.ID("com1"), Current: Secret{Revived: true}}}},
		"stays":          {{{Identifier: verifytest.ID("com1")}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			host := clocktest.NewHost()
			s, granted := started(t, host, Start{Fresh: true})
			if _, _, err := s.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.Deliver(stamped(t, 1, time.Now()), alice); !granted() {
				t.Error("a fresh start refuses")
			}
			time.Sleep(10500 * time.Millisecond)
			captured := stamped(t, 10, time.Now())
			for _, list := range lists {
				if err := s.change(t.Context(), list); err != nil {
					t.Fatal(err)
				}
			}
			if s.Deliver(stamped(t, 3, time.Now().Add(20*time.Second)), alice); granted() != (name == "stays") {
				t.Errorf("%s: before Begin", name)
			}
			if _, _, err := s.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if s.Deliver(captured, bob); granted() != (name == "stays") {
				t.Errorf("%s: a knock that was captured before", name)
			}
			if s.Deliver(stamped(t, 11, time.Now()), alice); !granted() {
				t.Errorf("%s: refused a second later", name)
			}
			if _, _, err := s.Begin(t.Context()); err != nil { // as any reload does
				t.Fatal(err)
			}
			if s.Deliver(stamped(t, 12, time.Now()), alice); !granted() {
				t.Errorf("%s: delayed by a change of another client", name)
			}
		})
	}
}

// TestNonceZero: nonce 0 is accepted, unless it is recorded as used.
func TestNonceZero(t *testing.T) {
	for _, used := range []bool{false, true} {
		client := Client{Identifier: verifytest.ID("com1"), Current: Secret{Used: used}}
		_, stats := run(t, Config{Clients: []Client{client}}, func(s *Sessions) {
			s.Deliver(verifytest.New(t, 1, "com1").Knock(t, "com1", minute, 0, 0), alice)
		})
		if opened := stats[Opened] == 1; opened == used {
			t.Errorf("used before: %t, opened: %t", used, opened)
		}
	}
}

// TestThresholdIsWhatIsRefused compares refuses, which uses integers, with
// Threshold, which uses times.
func TestThresholdIsWhatIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := func(name string) time.Time {
			seconds := rapid.Int64Range(0, 1<<32-1).Draw(t, name)
			return time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, name+", nanoseconds"))
		}
		wall, since := moment("wall"), moment("since")
		boot := since.Add(time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "elapsed")))
		th := newThreshold(Config{
			Start: &Start{Wall: func() time.Time { return wall }},
			Now:   func() time.Time { return boot },
		})
		th.readClocks(0)
		want := Threshold(wall, boot, since)
		stamp := uint32(max(want+rapid.Int64Range(-2, 2).Draw(t, "from there"), 0))
		if got := th.refuses(stamp, since.UnixNano()); got != (int64(stamp) <= want) {
			t.Fatalf("stamp %d, threshold %d: refused %t", stamp, want, got)
		}
	})
}

// TestClocksAreReadInTime: the clocks are read again for knocks that arrive after
// a reading, even if the queue was not empty then.
func TestClocksAreReadInTime(t *testing.T) {
	reads := 0
	now := time.Unix(1_800_000_000, 0)
	th := newThreshold(Config{
		Start: &Start{Wall: func() time.Time { reads++; return now }},
		Now:   func() time.Time { return now },
	})
	for _, left := range []int{3, 9, 9, 9, 0, 1, 0} { // others arrive meanwhile
		th.readClocks(left)
	}
	if reads != 3 {
		t.Errorf("%d reads for batches of 4, 1 and 2", reads)
	}
}

func TestStartDoesNotAllocate(t *testing.T) {
	clock := clocktest.NewHost().Clock()
	gate := gateFunc(func(Grant) error { return nil })
	s := newShard(newRecorder(discardJournal, gate, nil, slog.New(slog.DiscardHandler)), Config{
		Now: clock.Boot, Limit: unlimited, Start: &Start{Wall: clock.Wall},
	})
	s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
	s.begin(clock.Boot().Add(-time.Minute))
	a := arrival{stamped(t, 1, time.Now()), alice}
	if n := testing.AllocsPerRun(100, func() { s.handle(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.counts[BeforeStart].Load() != 0 {
		t.Error("refused")
	}
}

// TestMissed: knocks of a time for which the server may have missed knocks are
// refused, of every client. Missed never lowers a threshold.
func TestMissed(t *testing.T) {
	for _, row := range []struct {
		name  string
		start Start
		began bool
		stamp time.Duration // from the second of the call
		want  bool
	}{
		{"the second before", Start{}, true, -time.Second, false},
		{"its second", Start{}, true, 0, false},
		{"the next second", Start{}, true, time.Second, true},
		{"fresh", Start{Fresh: true}, true, 0, false},
		{"fresh, and the next second", Start{Fresh: true}, true, time.Second, true},
		{"the margin stays", Start{NotBeforeMargin: time.Minute}, true, 50 * time.Second, false},
		{"before Begin", Start{}, false, time.Second, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := clocktest.NewHost()
				s, granted := started(t, host, row.start)
				if row.began {
					if _, _, err := s.Begin(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(5*time.Second + 300*time.Millisecond)
				if _, err := s.Missed(t.Context()); err != nil {
					t.Fatal(err)
				}
				second := host.Clock().Wall().Truncate(time.Second)
				s.Deliver(stamped(t, 2, second.Add(row.stamp)), alice)
				if got := granted(); got != row.want {
					t.Errorf("opened: %t", got)
				}
			})
		})
	}
}
