package sessions

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/clock/clocktest"
	"sallyport/verify"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// none is the outcome of a call that has not ended.
const none = Outcome(NumOutcomes)

// connections runs sessions of the clients com1 and com2, and returns the verifier of
// their connections.
func connections(t *testing.T, j Journal) (*Sessions, *verify.Connections) {
	t.Helper()
	s, err := New(Config{
		Clients: withSecrets([]Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}}), Shards: 2,
		Journal: j, Now: time.Now, Log: slog.New(slog.DiscardHandler), Limit: unlimited,
		Gate: gateFunc(func(Grant) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return s, verifytest.Connections(t, "ssh", "com1", "com2")
}

// begin begins a connection of a client. The functions wait for their outcomes.
func begin(t verifytest.TB, s *Sessions, v *verify.Connections, id string, at time.Time, nonce uint32) (check, use func() Outcome) {
	t.Helper()
	claim, connection := verifytest.Connection(t, v, "ssh", id, uint32(at.Unix()), nonce)
	await := func(call func(func(Outcome))) Outcome {
		outcome := none
		call(func(o Outcome) {
			if outcome != none {
				panic("done was called twice")
			}
			outcome = o
		})
		synctest.Wait()
		return outcome
	}
	return func() Outcome { return await(func(done func(Outcome)) { s.Check(&claim, done) }) },
		func() Outcome { return await(func(done func(Outcome)) { s.Use(connection, done) }) }
}

// TestConnectionUsesItsNonce: any number of checks use no nonce, and one proof does, for
// connections and knocks.
func TestConnectionUsesItsNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, v := connections(t, discardJournal)
		check, use := begin(t, s, v, "com1", time.Now(), 7)
		for range 3 {
			if got := check(); got != Recorded {
				t.Fatalf("check: %s", got)
			}
		}
		if got := use(); got != Recorded {
			t.Fatalf("use: %s", got)
		}
		if got := check(); got != Replay {
			t.Errorf("check after its use: %s", got)
		}
		if got := use(); got != Replay {
			t.Errorf("use again: %s", got)
		}
		if _, other := begin(t, s, v, "com2", time.Now(), 7); other() != Recorded {
			t.Error("the nonce of another client")
		}
		s.Deliver(stamped(t, 7, time.Now()), alice) // a knock with that nonce
		synctest.Wait()
		if got := s.Stats(); got[Replay] != 1 || got[Opened] != 0 {
			t.Errorf("a knock with a nonce that a connection has used: %v", got)
		}
		s.Deliver(stamped(t, 8, time.Now()), alice)
		synctest.Wait()
		if _, after := begin(t, s, v, "com1", time.Now(), 8); after() != Replay {
			t.Error("a connection with a nonce that a knock has used")
		}
		if _, below := begin(t, s, v, "com1", time.Now(), 5); below() != Recorded {
			t.Error("an unused nonce in the window")
		}
	})
}

// TestConnectionWaitsForItsRecord: connections that come while the journal is busy share
// its next call, with grants.
func TestConnectionWaitsForItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls [][]Entry
		release := make(chan error)
		s, v := connections(t, journalFunc(func(e []Entry) error {
			calls = append(calls, append([]Entry(nil), e...))
			return <-release
		}))
		outcomes := make([]Outcome, 20)
		use := func(i int) {
			_, c := verifytest.Connection(t, v, "ssh", "com1", uint32(time.Now().Unix()), uint32(i))
			outcomes[i] = none
			s.Use(c, func(o Outcome) { outcomes[i] = o })
			synctest.Wait()
		}
		for i := range outcomes {
			use(i)
		}
		s.Deliver(stamped(t, 100, time.Now()), alice)
		synctest.Wait()
		for i, o := range outcomes {
			if o != none {
				t.Errorf("connection %d: %s before its record", i, o)
			}
		}
		release <- nil
		synctest.Wait()
		if outcomes[0] != Recorded || outcomes[1] != none {
			t.Errorf("after the first record: %s, %s", outcomes[0], outcomes[1])
		}
		release <- nil
		synctest.Wait()
		for i, o := range outcomes {
			if o != Recorded {
				t.Errorf("connection %d: %s", i, o)
			}
		}
		if len(calls) != 2 || len(calls[0]) != 1 || len(calls[1]) != 20 {
			t.Fatalf("%d calls: %v", len(calls), calls)
		}
		for i, e := range append(calls[0], calls[1][1:]...) { // the grant is first
			if e.Identifier != verifytest.ID("com1") || e.HighestNonce < uint32(i) || !e.Ring.Used(uint32(i)) ||
				e.Secret != verifytest.Fingerprint(e.Identifier) || e.Stamp != uint32(time.Now().Unix()) {
				t.Errorf("entry %d: %+v", i, e)
			}
		}
	})
}

// TestConnectionWithoutARecord: no byte passes, and the nonce stays used.
func TestConnectionWithoutARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full error = errors.New("no space left on device")
		s, v := connections(t, journalFunc(func([]Entry) error { return full }))
		check, use := begin(t, s, v, "com1", time.Now(), 7)
		if got := use(); got != Unrecorded {
			t.Errorf("got %s", got)
		}
		full = nil
		if got := check(); got != Replay {
			t.Errorf("its nonce: %s", got)
		}
		if got := use(); got != Replay {
			t.Errorf("its nonce is used again: %s", got)
		}
		if _, next := begin(t, s, v, "com1", time.Now(), 8); next() != Recorded {
			t.Error("with another nonce, and a disk that has room")
		}
	})
}

// TestConnectionOfAFormerClient: a proof that an earlier list of clients made possible.
func TestConnectionOfAFormerClient(t *testing.T) {
	id := verifytest.ID("com1")
	table := func(v *verify.Connections) uint32 {
		claim := verifytest.Claim(t, v, "ssh", "com1", uint32(time.Now().Unix()), 1)
		return claim.Table()
	}
	for name, row := range map[string]struct {
		change func(*testing.T, *Sessions, *verify.Connections) error
		want   Outcome
	}{
		"removed by an edit": {func(t *testing.T, s *Sessions, _ *verify.Connections) error {
			return s.change(t.Context(), []Client{{Identifier: verifytest.ID("com2")}})
		}, Unknown},
		"removed": {func(t *testing.T, s *Sessions, _ *verify.Connections) error {
			return s.Remove(t.Context(), func(gone wire.Identifier) bool { return gone == id })
		}, Unknown},
		"another secret": {func(t *testing.T, s *Sessions, _ *verify.Connections) error {
			return s.change(t.Context(), []Client{{Identifier: id, Current: Secret{Fingerprint: 99}}})
		}, Unknown},
		"another client of that name": {func(t *testing.T, s *Sessions, v *verify.Connections) error {
			return s.change(t.Context(), []Client{{Identifier: id, Readded: true, Table: table(v) + 1}})
		}, Unknown},
		"the previous secret": {func(t *testing.T, s *Sessions, _ *verify.Connections) error {
			return s.change(t.Context(), []Client{{Identifier: id, Current: Secret{Fingerprint: 99}, Previous: Secret{Fingerprint: verifytest.Fingerprint(id)}}})
		}, Recorded},
		"the same": {func(t *testing.T, s *Sessions, _ *verify.Connections) error {
			return s.change(t.Context(), []Client{{Identifier: id}})
		}, Recorded},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, v := connections(t, discardJournal)
			check, use := begin(t, s, v, "com1", time.Now(), 7)
			if err := row.change(t, s, v); err != nil {
				t.Fatal(err)
			}
			if got := check(); got != row.want {
				t.Errorf("%s: check: %s", name, got)
			}
			if got := use(); got != row.want {
				t.Errorf("%s: use: %s", name, got)
			}
		})
	}
}

// TestConnectionBeforeStart: the rule for knocks applies, and a step of the clock does
// not make a refused preamble valid.
func TestConnectionBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := clocktest.NewHost()
		s, _ := started(t, host, Start{})
		v := verifytest.Connections(t, "ssh", "com1")
		now := func() time.Time { return host.Clock().Wall() }
		check, use := begin(t, s, v, "com1", now().Add(time.Hour), 1)
		if check() != BeforeStart || use() != BeforeStart {
			t.Error("accepted before Begin")
		}
		time.Sleep(300 * time.Millisecond)
		if _, _, err := s.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := now().Truncate(time.Second)
		if check, use := begin(t, s, v, "com1", second, 2); check() != BeforeStart || use() != BeforeStart {
			t.Error("accepted with the second of the start")
		}
		check, use = begin(t, s, v, "com1", second.Add(time.Second), 3)
		if check() != Recorded || use() != Recorded {
			t.Error("refused with the second after it")
		}
		host.Step(-time.Hour)
		if check, use := begin(t, s, v, "com1", second, 2); check() != Replay || use() != Replay {
			t.Error("the nonce of a refused connection is unused")
		}
		host.Step(2 * time.Hour)
		check, use = begin(t, s, v, "com1", second.Add(time.Minute), 4)
		if check() != BeforeStart || use() != BeforeStart {
			t.Error("a preamble that was made before the start, and its clock has been set forward")
		}
	})
}

// TestConnectionsAreBounded: while the journal is stuck, only so many wait.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan error)
		s, v := connections(t, journalFunc(func([]Entry) error { return <-stuck }))
		_, c := verifytest.Connection(t, v, "ssh", "com1", uint32(time.Now().Unix()), 0)
		var got [NumOutcomes]int
		for i := range maxPendingConns + 10 {
			p := pendingConn{Entry{Identifier: c.Identifier(), Secret: c.Secret(), HighestNonce: uint32(i)}, func(o Outcome) { got[o]++ }}
			s.recorder.proved(p)
			if i == 0 {
				synctest.Wait() // the journal has it
			}
		}
		if got[QueueFull] != 9 {
			t.Errorf("%d refused", got[QueueFull])
		}
		close(stuck)
		synctest.Wait()
		if got[Recorded] != maxPendingConns+1 {
			t.Errorf("%d recorded", got[Recorded])
		}
	})
	// The queue of a shard that does not run.
	s, err := New(Config{Gate: gateFunc(nil), Journal: discardJournal, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v := verifytest.Connections(t, "ssh", "com1")
	claim := verifytest.Claim(t, v, "ssh", "com1", uint32(start0), 1)
	full := 0
	for range connQueueSize + 5 {
		s.Check(&claim, func(o Outcome) {
			if o == QueueFull {
				full++
			}
		})
	}
	if full != 5 {
		t.Errorf("%d refused", full)
	}
}

const start0 = 1_700_000_000

// TestConnectionModel compares connections and knocks of one client with a set of used
// nonces.
func TestConnectionModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]uint32 {
			return [2]uint32{rapid.Uint32Range(0, 2).Draw(t, "step"), rapid.Uint32Range(0, 400).Draw(t, "nonce")}
		}), 1, 40).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			s, v := connections(t, discardJournal)
			used := map[uint32]bool{}
			highest := int64(-1)
			for _, step := range steps {
				nonce := step[1]
				want := Recorded
				if used[nonce] || int64(nonce) <= highest-192 {
					want = Replay
				}
				check, use := begin(rt, s, v, "com1", time.Now(), nonce)
				got := want
				switch step[0] {
				case 0:
					got = check()
				case 1:
					got = use()
				case 2:
					before := s.Stats()
					s.Deliver(stamped(rt, nonce, time.Now()), alice)
					synctest.Wait()
					if got = Recorded; s.Stats()[Replay] > before[Replay] {
						got = Replay
					}
				}
				if got != want {
					rt.Fatalf("step %v, highest %d: %s, want %s", step, highest, got, want)
				}
				if step[0] > 0 && want == Recorded {
					used[nonce], highest = true, max(highest, int64(nonce))
				}
			}
		})
	})
}
