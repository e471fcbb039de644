package state

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

func drawLease(t *rapid.T) Lease {
	addresses := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "fe80::1%2", "fe80::1%33"}
	peer := access.PeerOf(netip.MustParseAddr(rapid.SampledFrom(addresses).Draw(t, "address")), rapid.SampledFrom([]int{64, 128}).Draw(t, "bits"))
	if rapid.IntRange(0, 9).Draw(t, "anyone") == 0 {
		peer = rapid.SampledFrom([]access.Peer{access.Anyone4, access.Anyone6}).Draw(t, "family")
	}
	return Lease{
		Client:  used(rapid.SampledFrom([]byte("123")).Draw(t, "client"), 0).Identifier,
		Service: access.ID(rapid.SampledFrom([]string{"web", "ssh"}).Draw(t, "service")),
		Peer:    peer,
		Until:   start.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "until")) * time.Second),
	}
}

// TestLeasesAreKept compares the store with a plain map, over grants, what is
// forgotten, stops and crashes.
func TestLeasesAreKept(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := config(t.TempDir())
			cfg.Relaxed = rapid.Bool().Draw(rt, "relaxed")
			if err := Create(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			s := open(t, cfg)
			defer func() { closeStore(t, s) }()
			model, nonce := map[leaseID]Lease{}, uint32(0)
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				switch rapid.IntRange(0, 3).Draw(rt, "step") {
				case 0, 1:
					leases := rapid.SliceOfN(rapid.Custom(drawLease), 0, 5).Draw(rt, "leases")
					var entries []sessions.Entry
					if rapid.Bool().Draw(rt, "with a nonce") {
						nonce++
						entries = append(entries, used('1', nonce))
					}
					if displaced, err := s.RecordLeases(entries, leases); err != nil || len(displaced) > 0 {
						rt.Fatalf("%v, displaced %v", err, displaced)
					}
					for _, l := range leases {
						model[l.id()] = l
					}
				case 2:
					leases := rapid.SliceOfN(rapid.Custom(drawLease), 1, 5).Draw(rt, "forgotten")
					if err := s.Forget(leases); err != nil {
						rt.Fatal(err)
					}
					for _, l := range leases {
						delete(model, l.id())
					}
				case 3:
					time.Sleep(2 * flushPause) // what is late is written
					synctest.Wait()
					if rapid.Bool().Draw(rt, "crash") {
						cfg.Dir = crash(t, s)
					}
					closeStore(t, s)
					s = open(t, cfg)
				}
				var want []Lease
				for _, l := range model {
					want = append(want, l)
				}
				sortLeases(want)
				if got := s.Leases(); !slices.Equal(got, want) {
					rt.Fatalf("%v, want %v", got, want)
				}
				var copied bytes.Buffer
				if err := s.Snapshot(&copied); err != nil {
					rt.Fatal(err)
				}
				c, err := Read(bytes.NewReader(copied.Bytes()), int64(copied.Len()), "it")
				if err != nil || !slices.Equal(c.Leases, want) || len(c.Entries) != int(min(nonce, 1)) || nonce > 0 && c.Entries[0] != used('1', nonce) {
					rt.Fatalf("the file has %v, %v", c, err)
				}
			}
		})
	})
}

// lots are leases of one client, each of another address; the later ones end
// later.
func lots(id wire.Identifier, n int) []Lease {
	leases := make([]Lease, n)
	for i := range leases {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		leases[i] = Lease{id, access.ID("web"), access.PeerOf(a, 128), start.Add(time.Duration(i) * time.Second)}
	}
	return leases
}

// TestLeasesAreBounded, of one client and of all, on disk too: those that end
// first give way, and a client that has some displaces its own.
func TestLeasesAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	one, two := used('1', 0).Identifier, used('2', 0).Identifier
	put := func(leases ...Lease) []Lease {
		t.Helper()
		displaced, err := s.RecordLeases(nil, leases)
		if err != nil {
			t.Fatal(err)
		}
		return displaced
	}
	of := lots(one, MaxClientLeases+2)
	put(of[:MaxClientLeases]...)
	put(lots(two, 3)...)
	if got := put(of[MaxClientLeases:]...); !slices.Equal(got, of[:2]) {
		t.Errorf("displaced %v", got)
	}
	if got := put(of[5]); len(got) != 0 {
		t.Errorf("a lease that is kept displaced %v", got)
	}
	crowd := len(s.Leases())
	for i := 0; crowd < MaxLeases; i++ {
		list := lots(wire.Identifier(fmt.Appendf(nil, "%04d", i)), min(MaxClientLeases, MaxLeases-crowd))
		for k := range list {
			list[k].Until = start.Add(-time.Hour) // they go first
		}
		list[0].Until = start.Add(-time.Duration(i) * 2 * time.Hour)
		put(list...)
		crowd += len(list)
	}
	if got := put(lots(two, 4)[3]); !slices.Equal(got, lots(two, 1)) {
		t.Errorf("a client of some displaced %v", got)
	}
	stranger := lots(used('3', 0).Identifier, 1)
	if got := put(stranger...); len(got) != 1 || got[0].Until.After(start.Add(-24*time.Hour)) {
		t.Errorf("a client of none displaced %v", got)
	}
	want := s.Leases()
	if len(want) != MaxLeases {
		t.Errorf("%d leases", len(want))
	}
	closeStore(t, s)
	if c, err := ReadFile(s.path); err != nil || !slices.Equal(c.Leases, want) {
		t.Errorf("the file has %d, %v", len(c.Leases), err)
	}
}

// TestWhatIsNoLease: it is refused before anything is recorded.
func TestWhatIsNoLease(t *testing.T) {
	s := open(t, config(t.TempDir()))
	defer closeStore(t, s)
	good := lots(used('1', 0).Identifier, 1)[0]
	for name, peer := range map[string]access.Peer{
		"nobody":      {},
		"a long zone": {Prefix: netip.MustParsePrefix("fe80::1/128"), Zone: "12345678901234567"},
	} {
		bad := good
		bad.Peer = peer
		if _, err := s.RecordLeases([]sessions.Entry{used('1', 5)}, []Lease{good, bad}); err == nil {
			t.Errorf("%s was kept", name)
		}
	}
	if entries, leases, err := s.records(); err != nil || len(entries)+len(leases)+len(s.Leases()) > 0 {
		t.Errorf("%v and %v, %v", entries, leases, err)
	}
}

// TestLeasesSurviveReset: what is connected by them lives on as well.
func TestLeasesSurviveReset(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	want := lots(used('1', 0).Identifier, 100)
	if _, err := s.RecordLeases(crowd(100, 5), want); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	path := filepath.Join(dir, FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// One lease is spoiled.
	key := want[50].id().key()
	text[bytes.Index(text, key)+len(key)] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Reset(t.Context(), dir, start, true); err != nil {
		t.Fatal(err)
	}
	c, err := ReadFile(path)
	got := slices.DeleteFunc(c.Leases, func(l Lease) bool { return l == want[50] })
	if err != nil || !slices.Equal(got, slices.Delete(slices.Clone(want), 50, 51)) || len(c.Entries) != 100 {
		t.Errorf("%d leases and %d entries, %v", len(got), len(c.Entries), err)
	}
}
