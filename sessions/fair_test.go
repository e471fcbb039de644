package sessions

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/verifytest"
)

// TestInsiderDelaysNoClient: a client completes an attempt from another address
// each tenth of a millisecond, and the gate is as slow as a kernel that removes
// elements. Every other client gets its grant within two calls of the gate.
func TestInsiderDelaysNoClient(t *testing.T) {
	const perCall, honest = 14 * time.Millisecond, 50
	ids, list := []string{"evil"}, []Client{{Identifier: verifytest.ID("evil")}}
	for i := range honest {
		ids = append(ids, fmt.Sprintf("h%03d", i))
		list = append(list, Client{Identifier: verifytest.ID(ids[i+1])})
	}
	f := verifytest.New(t, 1, ids...)
	for name, limit := range map[string]Limit{"limited": {}, "without a limit": unlimited} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex // of began, which the gate reads
			began, took := map[string]time.Time{}, map[string]time.Duration{}
			insiders, largest := 0, 0
			gate := batchFunc(func(grants []Grant) []error {
				time.Sleep(perCall)
				mu.Lock()
				defer mu.Unlock()
				largest = max(largest, len(grants))
				for _, g := range grants {
					if id := g.Identifier.String(); id == "evil" {
						insiders++
					} else {
						took[id] = time.Since(began[id])
					}
				}
				return nil
			})
			_, stats := run(t, Config{Clients: list, Shards: 2, Gate: gate, Limit: limit}, func(s *Sessions) {
				for n := range uint32(10_000) {
					s.Deliver(f.Knock(t, "evil", minute, n, 0), netip.AddrFrom4([4]byte{10, 0, 0, byte(n % 200)}))
					if i := int(n / 200); n%200 == 0 {
						mu.Lock()
						began[ids[i+1]] = time.Now()
						mu.Unlock()
						s.Deliver(f.Knock(t, ids[i+1], minute, 0, 0), alice)
					}
					time.Sleep(100 * time.Microsecond)
				}
			})
			if len(took) != honest {
				t.Errorf("%d of %d honest clients were granted", len(took), honest)
			}
			for id, d := range took {
				if d > 2*perCall+time.Millisecond {
					t.Errorf("%s waited %s", id, d)
				}
			}
			if largest > honest+1 {
				t.Errorf("%d grants in a call, of %d clients", largest, honest+1)
			}
			if n := stats[Unrecorded] + stats[QueueFull] + stats[Failed]; n != 0 {
				t.Errorf("stats %v", stats)
			}
			const most = DefaultBurst + 6
			if limit == (Limit{}) && (insiders > most || stats[RateLimited] < 10_000-most) {
				t.Errorf("the insider was granted %d times in a second, stats %v", insiders, stats)
			}
		})
	}
}

// TestReplayedKnockTakesNoToken: an attacker that replays a client's datagrams,
// even before the last of them has arrived, takes none of the client's tokens.
// Only a complete attempt takes a token.
func TestReplayedKnockTakesNoToken(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Limit: Limit{Pause: time.Hour, Burst: 2}}
	grants, stats := run(t, cfg, func(s *Sessions) {
		for range 1000 { // captured knocks, and attempts that an attacker spoils
			for sequence := range 3 {
				s.Deliver(f.Knock(t, "com1", minute, 0, sequence), alice)
			}
		}
		for base := uint32(3); base < 300; base += 3 {
			s.Deliver(f.Knock(t, "com1", minute, base, 0), bob)
			s.Deliver(f.Knock(t, "com1", minute, base, 1), alice)
			s.Deliver(f.Knock(t, "com1", minute, base, 2), alice)
		}
		synctest.Wait()
		if got := s.Stats()[RateLimited]; got != 0 {
			t.Errorf("%d attempts were limited", got)
		}
		for base := uint32(300); base < 306; base += 3 {
			for sequence := range 3 {
				s.Deliver(f.Knock(t, "com1", minute, base, sequence), alice)
			}
			synctest.Wait()
		}
	})
	if len(grants) != 2 || stats[Opened] != 2 || stats[RateLimited] != 1 {
		t.Errorf("%d grants, stats %v", len(grants), stats)
	}
}

// TestHonestRetriesAreNeverLimited: four programs with one profile make three
// attempts each, over both address families, two seconds apart, three times.
func TestHonestRetriesAreNeverLimited(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	_, stats := run(t, Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}}, func(s *Sessions) {
		base := uint32(0)
		for range 3 {
			for range 3 {
				for range 4 {
					s.Deliver(f.Knock(t, "com1", minute, base, 0), alice)
					s.Deliver(f.Knock(t, "com1", minute, base+1, 0), bob)
					base += 2
				}
				time.Sleep(2 * time.Second)
			}
		}
	})
	if stats[RateLimited] != 0 {
		t.Errorf("stats %v", stats)
	}
}

// TestBucket compares a bucket with one that counts tokens: at most Burst at
// once, and one more for each Pause.
func TestBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{
			Pause: time.Duration(rapid.IntRange(1, 1000).Draw(t, "pause")),
			Burst: rapid.IntRange(1, 10).Draw(t, "burst"),
		}
		start := time.Unix(rapid.Int64Range(0, 2_000_000_000).Draw(t, "start"), 0)
		now, at := start, start
		var b Bucket
		tokens := float64(l.Burst)
		for _, d := range rapid.SliceOf(rapid.IntRange(0, 2000)).Draw(t, "pauses") {
			now = now.Add(time.Duration(d))
			tokens = min(tokens+float64(now.Sub(at))/float64(l.Pause), float64(l.Burst))
			at = now
			want := tokens > 1-1e-9
			if got := b.Take(now, l); got != want {
				t.Fatalf("taken %v with %f tokens, after %s", got, tokens, now.Sub(start))
			}
			if want {
				tokens--
			}
		}
	})
}

// TestQueueIsBoundedByClients: in whatever order grants are put and taken, a take
// returns at most one for each client and address family. Carried out as the recorder
// does, in batches of any size, they have the effect of the last attempts: those that
// close end what the client had, and leave what it has opened since.
func TestQueueIsBoundedByClients(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const clients = 3
		q := newGrantQueue()
		var positions [clients][2]queuePosition
		type key struct{ client, family int }
		want, got := map[key]netip.Addr{}, map[key]netip.Addr{} // what is open
		waits := map[key]bool{}                                 // these would open
		take := func() {
			list := q.take()
			if len(list) > 2*clients {
				t.Fatalf("%d wait", len(list))
			}
			for batch := range slices.Chunk(list, rapid.IntRange(1, 6).Draw(t, "batch")) {
				for _, p := range batch {
					if p.closedFrom.IsValid() {
						delete(got, key{int(p.grant.Identifier[0]), 0})
						delete(got, key{int(p.grant.Identifier[0]), 1})
					}
				}
				for _, p := range batch {
					if !p.empty {
						got[key{int(p.grant.Identifier[0]), family(p.grant.Address)}] = p.grant.Address
					}
				}
			}
			clear(waits)
			if !maps.Equal(got, want) {
				t.Fatalf("open %v, want %v", got, want)
			}
		}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "take") == 0 {
				take()
				continue
			}
			k := key{rapid.IntRange(0, clients-1).Draw(t, "client"), rapid.IntRange(0, 1).Draw(t, "family")}
			a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
			if k.family == 1 {
				a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.ByteMin(1), 16, 16).Draw(t, "address")))
			}
			p := pendingGrant{grant: Grant{Address: a}}
			p.grant.Identifier[0] = byte(k.client)
			superseded := 0
			if rapid.IntRange(0, 4).Draw(t, "closes") == 0 {
				p.closedFrom, p.empty = a, true
				for f := range 2 {
					if waits[key{k.client, f}] {
						superseded++
					}
					delete(want, key{k.client, f})
					delete(waits, key{k.client, f})
				}
			} else {
				if waits[k] {
					superseded++
				}
				want[k], waits[k] = a, true
			}
			if n := q.put(&positions[k.client], p); n != superseded {
				t.Fatalf("%d superseded, want %d", n, superseded)
			}
		}
		take()
	})
}

// TestCompletingDoesNotAllocate: neither an attempt that replaces a pending grant
// allocates, nor one that is rate limited.
func TestCompletingDoesNotAllocate(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	s := newTestShard(gateFunc(func(Grant) error { return nil }))
	s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
	knocks := make([]arrival, 300)
	for i := range knocks {
		knocks[i] = arrival{f.Knock(t, "com1", minute, uint32(i), 0), alice}
	}
	s.handle(knocks[0])
	next := 1
	handle := func() { s.handle(knocks[next]); next++ }
	if n := testing.AllocsPerRun(100, handle); n != 0 || s.counts[Superseded].Load() == 0 {
		t.Errorf("%v allocations for one that replaces another", n)
	}
	s.limit = Limit{Pause: time.Hour, Burst: 1}
	if n := testing.AllocsPerRun(100, handle); n != 0 || s.counts[RateLimited].Load() == 0 {
		t.Errorf("%v allocations for one that is limited", n)
	}
}
