package state

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
)

// TestRelaxed: what was recorded is on disk after a while, and known at once.
// After a crash all stamps that were reserved are doubted, also by the start
// after that, and also if the store is then a strict one; after a clean stop
// none.
func TestRelaxed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := Create(dir); err != nil {
			t.Fatal(err)
		}
		s := open(t, relaxed(dir))
		record(t, s, used('1', 12))
		if got := marks(t, s, "1"); got[0] != 12 {
			t.Errorf("mark %v before the flush", got)
		}
		record(t, s, used('1', 13))
		if got := marks(t, s, "1"); got[0] != 13 {
			t.Errorf("mark %v before the flush", got)
		}
		early := crash(t, s)
		time.Sleep(flushPause + time.Millisecond)
		synctest.Wait()
		late := crash(t, s)
		record(t, s, used('1', 14), used('1', 20), used('1', 15))
		closeStore(t, s)

		// The first stamp was beyond what was reserved, so it was not late.
		lost := Gap{LostUntil: time.Unix(1_800_000_012+reserveAhead, 0)}
		for name, row := range map[string]struct {
			cfg  Config
			mark uint32
			gap  Gap
		}{
			"a crash before the flush": {relaxed(early), 12, lost},
			"a crash after it":         {relaxed(late), 13, lost},
			"a clean stop":             {relaxed(dir), 20, Gap{}},
		} {
			s := open(t, row.cfg)
			if got := marks(t, s, "1"); got[0] != row.mark {
				t.Errorf("%s: mark %d, want %d", name, got[0], row.mark)
			}
			if s.Gap() != row.gap {
				t.Errorf("%s: %+v, want %+v", name, s.Gap(), row.gap)
			}
			closeStore(t, s)
		}
		next := config(late)
		next.Now = start.Add(10 * time.Hour)
		s = open(t, next)
		if s.Gap() != lost {
			t.Errorf("the start after that: %+v", s.Gap())
		}
		closeStore(t, s)
	})
}

// TestWhatIsLostWasReserved: whatever a crash loses, its stamp is not later than
// the next start says, in whatever order stamps come.
func TestWhatIsLostWasReserved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Drawn, and told, outside of the bubble: rapid stops a check by a panic.
		type grant struct {
			stamp uint32
			pause int // ms
		}
		stamp := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 1), rapid.Uint32Range(1000, 1020))
		grants := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) grant {
			return grant{stamp.Draw(rt, "stamp"), rapid.IntRange(0, 150).Draw(rt, "pause")}
		}), 1, 12).Draw(rt, "grants")
		fault := ""
		synctest.Test(t, func(t *testing.T) {
			cfg := relaxed(t.TempDir())
			if err := Create(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			s := open(t, cfg)
			for mark, g := range grants {
				e := used('1', uint32(mark))
				e.Stamp = g.stamp
				record(t, s, e)
				time.Sleep(time.Duration(g.pause) * time.Millisecond)
			}
			cfg.Dir = crash(t, s)
			closeStore(t, s)
			s = open(t, cfg)
			defer closeStore(t, s)
			c := []sessions.Client{{Identifier: used('1', 0).Identifier}}
			if err := s.Raise(c); err != nil {
				t.Fatal(err)
			}
			for mark, g := range grants {
				if (!c[0].Used || uint32(mark) > c[0].HighestNonce) && time.Unix(int64(g.stamp), 0).After(s.Gap().LostUntil) {
					fault = fmt.Sprintf("nonce %d, stamped %d, is lost; %+v", mark, g.stamp, s.Gap())
				}
			}
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// TestLateKeepsTheHighest: whatever order entries and failing flushes come in,
// no mark is lost, and while flushes fail nothing is taken.
func TestLateKeepsTheHighest(t *testing.T) {
	var l late
	l.waiting, l.reserved = nothing(), math.MaxUint32
	clients := func() []sessions.Client {
		c := []sessions.Client{{Identifier: used('1', 0).Identifier}}
		var marks [1]mark
		l.marks(c, marks[:])
		c[0].HighestNonce = marks[0].highest
		return c
	}
	l.take([]sessions.Entry{used('1', 5)}, nil)
	if batch, _ := l.begin(); len(batch) != 1 || batch[0].HighestNonce != 5 {
		t.Fatalf("batch %v", batch)
	}
	if c := clients(); c[0].HighestNonce != 5 {
		t.Errorf("mark %d while it is written", c[0].HighestNonce)
	}
	l.take([]sessions.Entry{used('1', 9), used('2', 1)}, nil)
	l.end(errNoDisk, math.MaxUint32)
	if c := clients(); c[0].HighestNonce != 9 {
		t.Errorf("mark %d after a failure", c[0].HighestNonce)
	}
	if l.take([]sessions.Entry{used('1', 10)}, nil) {
		t.Error("taken while flushes fail")
	}
	batch, _ := l.begin()
	sortEntries(batch)
	if want := []sessions.Entry{used('1', 9), used('2', 1)}; !slices.Equal(batch, want) {
		t.Errorf("batch %v, want %v", batch, want)
	}
	l.end(nil, math.MaxUint32)
	if batch, _ := l.begin(); !l.take(nil, nil) || len(batch) != 0 {
		t.Error("not clean after a flush")
	}
}

// TestTroubleIsLoggedOnceAMinute, and once when it is over.
func TestTroubleIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := textLog(&text)
		var tr trouble
		for range 150 {
			tr.report(log, time.Now(), errNoDisk, 2)
			time.Sleep(time.Second)
		}
		tr.report(log, time.Now(), nil, 1)
		tr.report(log, time.Now(), nil, 1)
		got := text.String()
		if n := strings.Count(got, "failed to record nonces"); n != 3 {
			t.Errorf("%d lines in 150 s", n)
		}
		if strings.Count(got, "writable again") != 1 || !strings.Contains(got, "refused=120") {
			t.Errorf("log:\n%s", got)
		}
		// A disk that fails now and then.
		text.Reset()
		for range 600 {
			tr.report(log, time.Now(), errNoDisk, 1)
			tr.report(log, time.Now(), nil, 0)
			time.Sleep(100 * time.Millisecond)
		}
		if n := strings.Count(text.String(), "\n"); n > 4 {
			t.Errorf("%d lines in a minute:\n%s", n, text.String())
		}
	})
}

// TestChangeAfterTheEnd: a reload that meets the end of the server gets an error.
func TestChangeAfterTheEnd(t *testing.T) {
	s, err := Open(t.Context(), Config{
		Dir: t.TempDir(), Relaxed: true, Now: time.Now(), Wait: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RecordLeases([]sessions.Entry{used('1', 5)}, nil); err == nil {
		t.Error("a closed file was changed")
	}
	if err := s.Raise(nil); err == nil {
		t.Error("a closed file was read")
	}
}
