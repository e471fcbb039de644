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
	address := netip.MustParseAddr(rapid.SampledFrom(addresses).Draw(t, "address"))
	four := rapid.SampledFrom([]int{32, 32, 24, 16}).Draw(t, "bits of IPv4")
	peer := access.PeerIn(address, four, rapid.SampledFrom([]int{64, 128}).Draw(t, "bits"))
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

// leaseStep is a step of TestLeasesAreKept.
type leaseStep struct {
	kind   int // 0, 1: record; 2: forget; 3: restart
	leases []Lease
	nonce  bool // of record: with a nonce
	crash  bool // of restart
}

func drawLeaseStep(t *rapid.T) leaseStep {
	return leaseStep{
		kind:   rapid.IntRange(0, 3).Draw(t, "kind"),
		leases: rapid.SliceOfN(rapid.Custom(drawLease), 0, 5).Draw(t, "leases"),
		nonce:  rapid.Bool().Draw(t, "with a nonce"),
		crash:  rapid.Bool().Draw(t, "crash"),
	}
}

// TestLeasesAreKept compares the store with a plain map, over grants, removals,
// stops and crashes.
func TestLeasesAreKept(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Draw and report outside of the bubble: rapid stops a check by a panic.
		relaxed := rapid.Bool().Draw(rt, "relaxed")
		steps := rapid.SliceOfN(rapid.Custom(drawLeaseStep), 1, 12).Draw(rt, "steps")
		fault := ""
		synctest.Test(t, func(t *testing.T) { fault = playLeaseSteps(t, relaxed, steps) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func playLeaseSteps(t *testing.T, relaxed bool, steps []leaseStep) (fault string) {
	cfg := config(t.TempDir())
	cfg.Relaxed = relaxed
	if err := Create(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	defer func() { closeStore(t, s) }()
	model, nonce := map[leaseID]Lease{}, uint32(0)
	for _, step := range steps {
		switch step.kind {
		case 0, 1:
			var entries []sessions.Entry
			if step.nonce {
				nonce++
				entries = append(entries, used('1', nonce))
			}
			if displaced, err := s.RecordLeases(entries, step.leases); err != nil || len(displaced) > 0 {
				return fmt.Sprintf("%v, displaced %v", err, displaced)
			}
			for _, l := range step.leases {
				model[l.id()] = l
			}
		case 2:
			if err := s.Forget(step.leases); err != nil {
				return err.Error()
			}
			for _, l := range step.leases {
				delete(model, l.id())
			}
		case 3:
			time.Sleep(2 * flushPause) // until a flush
			synctest.Wait()
			if step.crash {
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
			return fmt.Sprintf("%v, want %v", got, want)
		}
		var copied bytes.Buffer
		if err := s.Snapshot(&copied); err != nil {
			return err.Error()
		}
		var entries []sessions.Entry
		if nonce > 0 {
			entries = append(entries, used('1', nonce))
		}
		c, err := Read(bytes.NewReader(copied.Bytes()), int64(copied.Len()), "it")
		if err != nil || !slices.Equal(c.Leases, want) || !slices.Equal(c.Entries, entries) {
			return fmt.Sprintf("the file has %v, %v", c, err)
		}
	}
	return ""
}

// lots returns n leases of one client, each of another address, in the order of
// their ends.
func lots(id wire.Identifier, n int) []Lease {
	leases := make([]Lease, n)
	for i := range leases {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		leases[i] = Lease{id, access.ID("web"), access.PeerOf(a, 128), start.Add(time.Duration(i) * time.Second)}
	}
	return leases
}

// TestLeasesAreBounded: the leases of one client, and of all clients, have a
// limit, on disk too. The ones that end first are displaced, of the same client if
// it has others.
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
		t.Errorf("a stored lease displaced %v", got)
	}
	total := len(s.Leases())
	for i := 0; total < MaxLeases; i++ {
		list := lots(wire.Identifier(fmt.Appendf(nil, "%04d", i)), min(MaxClientLeases, MaxLeases-total))
		for k := range list {
			list[k].Until = start.Add(-time.Hour) // displaced first
		}
		list[0].Until = start.Add(-time.Duration(i) * 2 * time.Hour)
		put(list...)
		total += len(list)
	}
	if got := put(lots(two, 4)[3]); !slices.Equal(got, lots(two, 1)) {
		t.Errorf("a client with other leases displaced %v", got)
	}
	stranger := lots(used('3', 0).Identifier, 1)
	if got := put(stranger...); len(got) != 1 || got[0].Until.After(start.Add(-24*time.Hour)) {
		t.Errorf("a client without leases displaced %v", got)
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

// TestInvalidLease: an invalid lease is refused before anything is recorded.
func TestInvalidLease(t *testing.T) {
	s := open(t, config(t.TempDir()))
	defer closeStore(t, s)
	good := lots(used('1', 0).Identifier, 1)[0]
	for name, peer := range map[string]access.Peer{
		"no peer":     {},
		"a long zone": {Prefix: netip.MustParsePrefix("fe80::1/128"), Zone: "12345678901234567"},
	} {
		bad := good
		bad.Peer = peer
		if _, err := s.RecordLeases([]sessions.Entry{used('1', 5)}, []Lease{good, bad}); err == nil {
			t.Errorf("%s was stored", name)
		}
	}
	if c, err := s.readAll(); err != nil || len(c.entries)+len(c.leases)+len(s.Leases()) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestLeasesSurviveReset: Reset keeps the leases, because their connections
// continue.
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
	// Damage one lease.
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
