package sessions

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"sallyport/sessions/clock/clocktest"
	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// slotModel is the rule of verify/wire/PROTOCOL.md for one secret, with sets and lists
// that grow.
type slotModel struct {
	n       int
	allowed Spread
	used    map[uint32]bool
	highest int64 // -1: no nonce was used
	held    []*modelAttempt
}

type modelAttempt struct {
	base    uint32
	began   time.Time
	minute  schedule.Minute
	closes  bool
	sources []netip.Addr
}

func newSlotModel(n int, allowed Spread) *slotModel {
	return &slotModel{n: n, allowed: allowed, used: map[uint32]bool{}, highest: -1}
}

func (m *slotModel) deliver(base uint32, sequence int, at schedule.Minute, closes bool, from netip.Addr, now time.Time) (Outcome, *modelAttempt) {
	nonce := base + uint32(sequence)
	if m.used[nonce] || int64(nonce) <= m.highest-replay.Size {
		return Replay, nil
	}
	m.used[nonce], m.highest = true, max(m.highest, int64(nonce))
	a := m.attempt(base, at, closes, now)
	switch {
	case a == nil:
		return Older, nil
	case a.minute != at:
		return OtherMinute, nil
	case a.closes != closes:
		return OtherPurpose, nil
	case !m.together(append(slices.Clone(a.sources), from)):
		return OtherSource, nil
	}
	if a.sources = append(a.sources, from); len(a.sources) == m.n {
		for _, before := range m.held {
			for i := range m.n {
				m.used[before.base+uint32(i)] = m.used[before.base+uint32(i)] || before.base < base && before.closes != closes
			}
		}
		if closes {
			return Closed, a
		}
		return Opened, a
	}
	return Recorded, nil
}

func (m *slotModel) attempt(base uint32, at schedule.Minute, closes bool, now time.Time) *modelAttempt {
	newer, late := 0, false
	for _, a := range m.held {
		switch d := int64(a.base) - int64(base); {
		case d == 0:
			return a
		case max(d, -d) < int64(m.n):
			return nil
		case d > 0:
			newer++
			late = late || now.Sub(a.began) > 2*time.Second || a.closes != closes && len(a.sources) == m.n
		}
	}
	if newer >= 4 || late {
		return nil
	}
	a := &modelAttempt{base: base, began: now, minute: at, closes: closes}
	m.held = append(m.held, a)
	slices.SortFunc(m.held, func(a, b *modelAttempt) int { return int(int64(b.base) - int64(a.base)) })
	if len(m.held) > 4 {
		for i := range m.n {
			m.used[m.held[4].base+uint32(i)] = true
		}
		m.held = m.held[:4]
	}
	return a
}

// together reports whether one prefix that is allowed has all sources.
func (m *slotModel) together(sources []netip.Addr) bool {
	first := sources[0].Unmap()
	bits := first.BitLen() - int(m.allowed.IPv4)
	if first.Is6() {
		if bits = first.BitLen() - int(m.allowed.IPv6); first.IsLinkLocalUnicast() {
			bits = first.BitLen()
		}
	}
	prefix, _ := first.Prefix(bits)
	return !slices.ContainsFunc(sources, func(a netip.Addr) bool {
		a = a.Unmap()
		return a.Zone() != first.Zone() || !prefix.Contains(a.WithZone(""))
	})
}

// restart: all nonces up to the mark count as used, and no others.
func (m *slotModel) restart(mark int64) {
	*m = *newSlotModel(m.n, m.allowed)
	for n := max(mark-replay.Size-8, 0); n <= mark; n++ {
		m.used[uint32(n)] = true
	}
	m.highest = mark
}

// TestSlotAgainstModel: sequences of one client arrive interleaved, in other orders, from
// other addresses and more than once, with two secrets during a rotation, over reloads
// and restarts. Each knock has the outcome of the model. No attempt opens twice, whatever
// happens, and each opens only for addresses of which one prefix has all. Some attempts
// close, and knocks of both kinds are mixed: an attempt that closes opens nothing.
func TestSlotAgainstModel(t *testing.T) {
	var sources []netip.Addr
	for _, text := range []string{
		"192.0.2.1", "192.0.2.200", "192.0.3.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::f", "2001:db8:0:1::1",
		"fe80::1%2", "fe80::1%3", "fe80::2%2", "::c000:201",
	} {
		sources = append(sources, netip.MustParseAddr(text))
	}
	id := verifytest.ID("com1")
	secrets := [2][]byte{[]byte("the old secret of com1"), []byte("the new secret of com1")}
	var prints [2]verify.Fingerprint
	for i, s := range secrets {
		prints[i], _ = verify.FingerprintOf(s)
	}
	keys := verifytest.Table(t, verify.Key{Identifier: id, Secret: secrets[1], Previous: secrets[0], Until: time.Unix(1<<40, 0)})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		allowed := Spread{uint8(rapid.SampledFrom([]int{0, 8, 16}).Draw(t, "IPv4")), uint8(rapid.SampledFrom([]int{0, 64}).Draw(t, "IPv6"))}
		verifier := verify.New(verify.Rules{Table: keys, Ports: n, Tolerance: time.Minute})
		now := time.Unix(1_800_000_000, 0)
		marks := [2]int64{-1, -1}
		var grants []Grant
		var closed []Closing
		closeAll := func(all []Closing) { closed = append(closed, all...) }
		keys.SetLeased(id, true)
		journal := journalFunc(func(entries []Entry) error {
			for _, e := range entries {
				i := slices.Index(prints[:], e.Secret)
				marks[i] = int64(e.HighestNonce)
			}
			return nil
		})
		gate := gateFunc(func(g Grant) error { grants = append(grants, g); return nil })
		rotated := false
		list := func() []Client {
			secret := func(i int) Secret {
				return Secret{Fingerprint: prints[i], HighestNonce: uint32(max(marks[i], 0)), Used: marks[i] >= 0}
			}
			c := Client{Identifier: id, Current: secret(0), Spread: allowed}
			if rotated {
				c.Current, c.Previous = secret(1), secret(0)
			}
			return []Client{c}
		}
		start := func() *shard {
			r := newRecorder(journal, gate, closeAll, slog.New(slog.DiscardHandler))
			s := newShard(r, Config{Now: func() time.Time { return now }, Limit: unlimited})
			s.replace(list())
			return s
		}
		s := start()
		models := [2]*slotModel{newSlotModel(n, allowed), newSlotModel(n, allowed)}
		opened := map[[2]uint32]bool{}
		bases := [2][]uint32{{0}, {0}}
		closing := map[[2]uint32]bool{} // attempts
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			secret := 0
			if rotated {
				secret = rapid.IntRange(0, 1).Draw(t, "secret")
			}
			of := &bases[secret]
			switch rapid.IntRange(0, 24).Draw(t, "what") {
			case 0, 1, 2, 3:
				next := (*of)[len(*of)-1] + uint32(rapid.SampledFrom([]int{n, n, n, n + 1, max(n-1, 1), 3 * n, 190, 4096}).Draw(t, "next"))
				*of = append(*of, next)
				closing[[2]uint32{uint32(secret), next}] = rapid.IntRange(0, 3).Draw(t, "closes") == 0
			case 4:
				now = now.Add(time.Duration(rapid.IntRange(0, 2500).Draw(t, "ms")) * time.Millisecond)
			case 5:
				s.replace(list()) // a reload
			case 6:
				rotated = true
				s.replace(list())
			case 7:
				if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
					s = start()
					for i, m := range models {
						m.restart(marks[i])
					}
				}
			}
			base := (*of)[rapid.IntRange(max(len(*of)-7, 0), len(*of)-1).Draw(t, "attempt")]
			sequence := rapid.IntRange(0, n-1).Draw(t, "sequence")
			at := minute + schedule.Minute(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1}).Draw(t, "minute"))
			from := rapid.SampledFrom(sources[:rapid.SampledFrom([]int{1, 2, 3, len(sources)}).Draw(t, "sources")]).Draw(t, "from")

			closes := closing[[2]uint32{uint32(secret), base}]
			if rapid.IntRange(0, 15).Draw(t, "mixed") == 0 {
				closes = !closes
			}
			made := wire.Knock{Sequence: int8(sequence), Maximum: int8(n - 1), Identifier: id, Timestamp: uint32(at) * 60, Nonce: base + uint32(sequence)}
			if made = made.Sign(secrets[secret]); closes {
				made = made.SignClosing(secrets[secret])
			}
			datagram, err := made.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			k, reason := verifier.Verify(datagram, []schedule.Place{{Minute: at, Index: int8(sequence)}}, int64(at)*60)
			if reason != verify.Authentic {
				t.Fatal(reason)
			}
			want, attempt := models[secret].deliver(base, sequence, at, closes, from, now)
			before := s.outcomes()
			grants, closed = nil, nil
			s.handle(arrival{k, from})
			s.recorder.drain()
			before[want]++
			if got := s.outcomes(); got != before {
				t.Fatalf("%v, want one more %s: %v", got, want, before)
			}
			if (len(closed) == 1) != (want == Closed) || (len(grants) > 0) != (want == Opened) {
				t.Fatalf("%s: granted %v, closed %v", want, grants, closed)
			}
			key := [2]uint32{uint32(secret), base}
			if want == Closed {
				if closed[0].Identifier != id || opened[key] {
					t.Fatalf("closed %v; completed before: %v", closed, opened[key])
				}
				opened[key] = true
			}
			if want != Opened {
				continue
			}
			if len(grants) != 1 || opened[key] {
				t.Fatalf("granted %v; opened before: %v", grants, opened[key])
			}
			opened[key] = true
			g := grants[0]
			prefix, err := g.Address.Prefix(g.Address.BitLen() - int(g.Differ))
			for _, a := range attempt.sources {
				if err != nil || !prefix.Contains(a.Unmap().WithZone("")) {
					t.Fatalf("granted %+v to knocks from %v", g, attempt.sources)
				}
			}
			narrower, err := g.Address.Prefix(g.Address.BitLen() - int(g.Differ) + 1)
			outside := func(a netip.Addr) bool { return !narrower.Contains(a.Unmap()) }
			if g.Differ > 0 && err == nil && !slices.ContainsFunc(attempt.sources, outside) {
				t.Fatalf("granted %+v to knocks from %v only", g, attempt.sources)
			}
		}
	})
}

// outcomes returns the counts of a shard and its recorder.
func (s *shard) outcomes() (all [NumOutcomes]uint64) {
	for o := range all {
		all[o] = s.counts[o].Load() + s.recorder.counts[o].Load()
	}
	return all
}

// TestSeveralAddresses: four sequences to the addresses of one server, of both families,
// arrive interleaved and in any order. Each opens for its own source.
func TestSeveralAddresses(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	rapid.Check(t, func(t *rapid.T) {
		sources := []netip.Addr{alice, bob, netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8::77")}
		granted := map[netip.Addr]int{}
		s := newTestShard(gateFunc(func(g Grant) error { granted[g.Address]++; return nil }))
		s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
		var all []arrival
		for i, from := range sources {
			for sequence := range 3 {
				all = append(all, arrival{f.Knock(t, "com1", minute, uint32(100+3*i), sequence), from})
			}
		}
		for _, a := range rapid.Permutation(all).Draw(t, "order") {
			s.handle(a)
			s.recorder.drain()
		}
		for _, from := range sources {
			if granted[from] != 1 {
				t.Fatalf("granted %v", granted)
			}
		}
	})
}

// TestRestartEndsAttempts: after a restart, no knock of an attempt that was incomplete
// counts, whether its nonces are below the recorded mark or above it, whether the server
// received it or not. The client's next attempt opens.
func TestRestartEndsAttempts(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	host := clocktest.NewHost()
	host.Step(time.Unix(int64(minute)*60, 0).Sub(host.Clock().Wall()))
	var entries []Entry
	grants := 0
	journal := journalFunc(func(e []Entry) error { entries = append(entries, e...); return nil })
	gate := gateFunc(func(Grant) error { grants++; return nil })
	start := func(fresh bool, secret Secret) *shard {
		r := newRecorder(journal, gate, nil, slog.New(slog.DiscardHandler))
		clock := host.Clock()
		s := newShard(r, Config{Now: clock.Boot, Limit: unlimited, Start: &Start{Wall: clock.Wall, Fresh: fresh}})
		s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1"), Current: secret}}))
		if !fresh {
			s.begin(clock.Boot())
		}
		return s
	}
	s := start(true, Secret{})
	deliver := func(at schedule.Minute, base uint32, sequences ...int) (before, after [NumOutcomes]uint64) {
		before = s.outcomes()
		for _, i := range sequences {
			s.handle(arrival{f.Knock(t, "com1", at, base, i), alice})
			s.recorder.drain()
		}
		return before, s.outcomes()
	}
	// Below the mark, complete, above it, and never arrived.
	const below, whole, above, lost = 10, 13, 16, 19
	deliver(minute, below, 0)
	deliver(minute, above, 1)
	deliver(minute, whole, 0, 1, 2)
	if grants != 1 || len(entries) != 1 || entries[0].HighestNonce != above+1 {
		t.Fatalf("%d grants, %+v", grants, entries)
	}
	s = start(false, Secret{Fingerprint: entries[0].Secret, HighestNonce: entries[0].HighestNonce, Used: true})
	for _, base := range []uint32{below, whole, above, lost} {
		before, after := deliver(minute, base, 0, 1, 2)
		if after[Replay]+after[BeforeStart] != before[Replay]+before[BeforeStart]+3 {
			t.Errorf("base %d: %v, then %v", base, before, after)
		}
	}
	host.Pass(time.Minute)
	deliver(minute+1, lost+3, 2, 0, 1)
	if grants != 2 || entries[1].HighestNonce != lost+5 {
		t.Errorf("%d grants, %+v", grants, entries)
	}
}

// TestSizeOfASlot: a million clients have a slot each.
func TestSizeOfASlot(t *testing.T) {
	if size := unsafe.Sizeof(slot{}); size > 164 {
		t.Errorf("%d bytes", size)
	}
}
