package client

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

var noon = time.Unix(1_800_000_000, 0)

// modelServer is what a server knows of a client's nonces.
type modelServer struct {
	window replay.Window
	shield bool
}

// receive returns which of the nonces from base the server accepts, of those that
// arrive.
func (s *modelServer) receive(base uint32, arrives []bool) (all bool) {
	all = true
	for i, here := range arrives {
		n := base + uint32(i)
		highest, used := s.window.Highest()
		highest = max(highest, 1) // see window.raiseFloor
		refused := s.shield && used && (uint64(n) > uint64(highest)+wire.MaxAhead || uint64(n)+replay.Size <= uint64(highest))
		all = here && !refused && s.window.Accept(n) && all
	}
	return all
}

// modelDevice is a device of a client, with its record. No nonce may be sent twice.
type modelDevice struct {
	nonceRecord
	sent map[uint32]bool
	n    int
}

func (d *modelDevice) send(t *rapid.T, base uint32) uint32 {
	for n := base; n < base+uint32(d.n); n++ {
		if d.sent[n] {
			t.Fatalf("nonce %d twice", n)
		}
		d.sent[n] = true
	}
	return base
}

func (d *modelDevice) reserve(t *rapid.T, now time.Time) attemptNonces {
	a, ok := d.nonceRecord.reserve(now, d.n)
	if !ok {
		t.Fatal("exhausted")
	}
	d.unopened++
	d.send(t, a.base)
	return a
}

// everything has all knocks of a sequence arrive.
func (d *modelDevice) everything() []bool {
	list := make([]bool, d.n)
	for i := range list {
		list[i] = true
	}
	return list
}

// knock makes up to three attempts, as Knock does, of which all knocks arrive, and
// reports whether the service has opened.
func (d *modelDevice) knock(t *rapid.T, s *modelServer, now time.Time, certain bool) bool {
	for range 3 {
		a := d.reserve(t, now)
		if s.receive(a.base, d.everything()) {
			d.open(a.base, d.n, certain)
			return true
		}
		if !a.byClock {
			continue
		}
		if base, ok := d.takeByClock(now, d.n); ok && s.receive(d.send(t, base), d.everything()) {
			d.open(base, d.n, certain)
			return true
		}
	}
	return false
}

// fail makes an attempt that the client does not see succeed. Each knock arrives or not.
func (d *modelDevice) fail(t *rapid.T, s *modelServer, now time.Time, random *rand.Rand) {
	a := d.reserve(t, now)
	arrives := random.IntN(11)
	lose := func() (list []bool) {
		for range d.n {
			list = append(list, random.IntN(10) < arrives)
		}
		return list
	}
	s.receive(a.base, lose())
	if random.IntN(2) == 0 {
		if base, ok := d.more(a.other, d.n); ok {
			s.receive(d.send(t, base), lose())
		}
	}
	if !a.byClock {
		return
	}
	if base, ok := d.takeByClock(now, d.n); ok {
		s.receive(d.send(t, base), lose())
	}
}

// TestFailuresStayInReach: whatever fails, for however long, whatever the clock shows,
// and whichever sequence the client takes for the one that has opened the service, a
// shield still accepts one of the next three attempts.
func TestFailuresStayInReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &modelServer{shield: true}
		d := &modelDevice{sent: map[uint32]bool{}, n: rapid.IntRange(1, 16).Draw(t, "knocks")}
		first := rapid.OneOf(rapid.Uint64Range(0, upperHalf-1), rapid.Just(uint64(0)), rapid.Just(jumpTarget(noon)), rapid.Just(jumpTarget(noon)+2*nonceSkip)).Draw(t, "first")
		d.nonceRecord = newRecord(first)
		now := noon
		if !d.knock(t, s, now, true) {
			t.Fatal("the first attempt failed")
		}
		for range rapid.IntRange(1, 6).Draw(t, "outages") {
			lost := rapid.Bool().Draw(t, "all lost")
			random := rand.New(rand.NewPCG(0, rapid.Uint64().Draw(t, "seed")))
			for range rapid.IntRange(0, 400).Draw(t, "attempts") {
				now = now.Add(time.Duration(random.IntN(100_000)) * time.Second)
				if to := s; lost {
					d.fail(t, &modelServer{}, now, random)
				} else {
					d.fail(t, to, now, random)
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "days")) * 24 * time.Hour)
			certain := rapid.Bool().Draw(t, "certain")
			// Another process of this device opens the service while this one has sent a
			// sequence that the server refuses.
			if rapid.IntRange(0, 3).Draw(t, "crossed") == 0 {
				refused, ok := d.takeByClock(now, d.n)
				if ok {
					d.send(t, refused)
				}
				a := d.reserve(t, now)
				opened := s.receive(a.base, d.everything())
				for _, mine := range rapid.Permutation([]bool{true, false}).Draw(t, "order") {
					if opened && mine {
						d.open(a.base, d.n, certain)
					} else if opened && ok {
						d.open(refused, d.n, certain)
					}
				}
			}
			if !d.knock(t, s, now, certain) {
				highest, _ := s.window.Highest()
				t.Fatalf("highest %d: %+v", highest, d.nonceRecord)
			}
			if len(d.String()) > 8192 || !d.valid() {
				t.Fatalf("record %+v", d.nonceRecord)
			}
		}
	})
}

// TestClockStaysInReach: the server may have accepted the first of the sequences by the
// clock only, so the later ones that the client would continue from stay in its reach. A
// client whose other nonces are behind tries as far as it can without forgetting them.
func TestClockStaysInReach(t *testing.T) {
	const n, day = 3, 24 * time.Hour
	at := jumpTarget(noon) + 2*nonceSkip
	r := newRecord(at)
	var first uint64
	for _, days := range []time.Duration{1, 9, 12, 14, 20} {
		base, ok := r.takeByClock(noon.Add(days*day), n)
		if !ok || r.other != uint64(base)+n {
			t.Fatalf("day %d: base %d, %t: %+v", days, base, ok, r)
		}
		if first == 0 {
			first = r.other
		}
		if r.other > first+wire.MaxAhead-1000*n {
			t.Fatalf("day %d: %d above the first sequence", days, r.other-first)
		}
	}
	if base, ok := r.takeByClock(noon.Add(30*day), n); !ok || uint64(base) != jumpTarget(noon.Add(30*day))+2*nonceSkip {
		t.Errorf("out of reach: base %d, %t: the sequence does not go by the clock", base, ok)
	}

	r = newRecord(at)
	r.next, r.other = at+6<<16, 1000
	if base, ok := r.takeByClock(noon.Add(11*day), n); !ok || uint64(base) != at+maxAlone || r.other != 1000 {
		t.Errorf("beside nonces that are behind: base %d, %t: %+v", base, ok, r)
	}
}

// TestUnrecorded: a server that has received all sequences of a call, and could not record
// any, has used their nonces. The next call opens with its first attempt.
func TestUnrecorded(t *testing.T) {
	for _, calls := range []int{1, 2, 5} {
		s, d := &modelServer{}, &modelDevice{sent: map[uint32]bool{}, nonceRecord: newRecord(1000), n: 3}
		now := noon
		receive := func() bool {
			a := d.reserve(nil, now)
			opened := s.receive(a.base, d.everything())
			if a.byClock {
				base, ok := d.takeByClock(now, d.n)
				opened = ok && s.receive(d.send(nil, base), d.everything()) || opened
			}
			return opened
		}
		for range 3 * calls {
			receive() // opens nothing
			now = now.Add(time.Minute)
		}
		if !receive() {
			t.Errorf("after %d calls: %+v", calls, d.nonceRecord)
		}
	}
}

// TestNoncesHeal: devices that use one profile in turn, that come from a backup, or
// whose record is lost, get in again with the first or the second call. Without a
// shield they do wherever their nonces are; with one, if they are less than 2^18 behind.
func TestNoncesHeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &modelServer{shield: rapid.Bool().Draw(t, "shield")}
		now, first := noon, rapid.Uint64Range(0, upperHalf-1).Draw(t, "first")
		devices := make([]*modelDevice, 3)
		backups := make([]nonceRecord, len(devices))
		for i := range devices {
			// Each device of the model is of one profile, so no nonce of it may be used
			// twice, but two devices may use the same: the server accepts it once.
			devices[i] = &modelDevice{nonceRecord: newRecord(first), sent: map[uint32]bool{}, n: 3}
			backups[i] = devices[i].nonceRecord
		}
		for range rapid.IntRange(1, 30).Draw(t, "uses") {
			i := rapid.IntRange(0, len(devices)-1).Draw(t, "device")
			d := devices[i]
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 0:
				backups[i] = d.nonceRecord
			case 1:
				d.nonceRecord, d.sent = backups[i], map[uint32]bool{}
			case 2:
				if !s.shield {
					d.nonceRecord, d.sent = newRecord(rapid.Uint64Range(0, upperHalf-1).Draw(t, "drawn")), map[uint32]bool{}
				}
			}
			for range rapid.IntRange(1, 5).Draw(t, "knocks") {
				now = now.Add(time.Duration(rapid.IntRange(10, 100_000).Draw(t, "seconds")) * time.Second)
				if rapid.IntRange(0, 3).Draw(t, "down") == 0 {
					d.fail(t, &modelServer{}, now, rand.New(rand.NewPCG(0, 0)))
					continue
				}
				highest, _ := s.window.Highest()
				behind := int64(highest) - int64(d.next)
				if s.shield && behind > 1<<18 {
					t.Skip("too far behind")
				}
				opened := false
				calls := 0
				for ; calls < 2 && !opened; calls++ {
					opened = d.knock(t, s, now, true)
					now = now.Add(10 * time.Second)
				}
				if !opened {
					t.Fatalf("shield %v, highest %d: %+v", s.shield, highest, d.nonceRecord)
				}
			}
		}
	})
}

// TestNoncesOfFailures: the attempts of a call, and a lot of further ones.
func TestNoncesOfFailures(t *testing.T) {
	r := newRecord(1000)
	attempt := func(now time.Time) attemptNonces {
		t.Helper()
		a, ok := r.reserve(now, 3)
		if !ok {
			t.Fatal("exhausted")
		}
		r.unopened++
		return a
	}
	for i, want := range []struct {
		base           uint32
		moved, byClock bool
	}{{1000, false, false}, {1000 + 1<<12, true, false}, {1000 + 1<<16, true, true}, {1000 + 1<<17, true, true}} {
		if a := attempt(noon); a.base != want.base || a.moved != want.moved || a.byClock != want.byClock {
			t.Errorf("attempt %d: %+v, want %+v", i+1, a, want)
		}
		if !want.byClock {
			continue
		}
		if base, ok := r.takeByClock(noon, 3); !ok || uint64(base) != jumpTarget(noon)+uint64(1+i/3)*nonceSkip {
			t.Errorf("by the clock: %d, %v", base, ok)
		}
	}
	if base, ok := r.takeByClock(noon, 3); !ok || uint64(base) != jumpTarget(noon)+2*nonceSkip+3 {
		t.Errorf("by the clock, in the second round: %d, %v", base, ok)
	}
	for i := range 10_000 {
		a := attempt(noon.Add(time.Duration(i) * time.Minute))
		if uint64(a.base)+3 > 1000+wire.MaxAhead {
			t.Fatalf("attempt %d: %d", i, a.base)
		}
	}
	// The client continues where something has opened, for years.
	r.open(1000+1<<12, 3, true)
	if a := attempt(noon.AddDate(10, 0, 0)); uint64(a.base) > 1000+wire.MaxAhead || a.moved {
		t.Errorf("after ten years: %+v", a)
	}
}

// TestClockwiseClientStays: a client whose nonces an earlier release has moved by the
// clock continues near the last one, however long it was idle, and its failures do not
// overtake the clock: another device with the same profile passes it.
func TestClockwiseClientStays(t *testing.T) {
	last := jumpTarget(noon) + nonceSkip
	r, later := newRecord(last), noon.AddDate(1, 0, 0)
	if a, ok := r.reserve(later, 3); !ok || uint64(a.base) != last {
		t.Errorf("after a year: %+v, %v", a, ok)
	}
	r = newRecord(last)
	for range 30 {
		r.reserve(noon.Add(time.Minute), 3)
		r.unopened++
	}
	if r.next > last+3*31+60 {
		t.Errorf("%d nonces ahead after a minute", r.next-last)
	}
}

// TestUncertainOpening: after a sequence by the clock that may not be the one that has
// opened the service, the client tries its earlier nonces, too.
func TestUncertainOpening(t *testing.T) {
	r := newRecord(1000)
	for range 3 {
		r.reserve(noon, 3)
		r.unopened++
	}
	near := r.next
	base, _ := r.takeByClock(noon, 3)
	r.open(base, 3, true)
	var got []uint64
	for range 2 {
		a, _ := r.reserve(noon, 3)
		r.unopened++
		got = append(got, uint64(a.base))
	}
	if got[0] != uint64(base)+3 || got[1] != near {
		t.Errorf("got %d, want %d and %d", got, base+3, near)
	}
	r.open(uint32(near), 3, true)
	if a, _ := r.reserve(noon, 3); uint64(a.base) != near+3 {
		t.Errorf("then %d, want %d", a.base, near+3)
	}
}
