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

// TestRelaxed: an entry has effect at once, and is on disk after a flush. After a
// crash the gap has all reserved stamps, also at the start after the next, and also
// if the store is then a strict one; after a clean stop there is no gap.
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

		// The first stamp was later than the reserved ones, so it was written at
		// once.
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

// TestLostEntriesWereReserved: the stamp of an entry that a crash loses is not
// later than the LostUntil of the next start, in whatever order stamps come.
func TestLostEntriesWereReserved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Draw and report outside of the bubble: rapid stops a check by a panic.
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
			c := []sessions.Client{{Identifier: used('1', 0).Identifier, Current: secretOf(0)}}
			if err := s.RaiseNonces(c); err != nil {
				t.Fatal(err)
			}
			for mark, g := range grants {
				lost := !c[0].Current.Used || uint32(mark) > c[0].Current.HighestNonce
				if lost && time.Unix(int64(g.stamp), 0).After(s.Gap().LostUntil) {
					fault = fmt.Sprintf("nonce %d, stamped %d, is lost; %+v", mark, g.stamp, s.Gap())
				}
			}
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// TestWriteBehindKeepsTheHighest: in whatever order entries and failing flushes
// come, no mark is lost, and no entry is added while flushes fail.
func TestWriteBehindKeepsTheHighest(t *testing.T) {
	var l writeBehind
	l.waiting, l.reserved = newUnwritten(), math.MaxUint32
	clients := func() []sessions.Client {
		c := []sessions.Client{{Identifier: used('1', 0).Identifier, Current: secretOf(0)}}
		l.raise(c)
		return c
	}
	l.add([]sessions.Entry{used('1', 5)}, nil)
	if batch, _ := l.beginFlush(); len(batch) != 1 || batch[0].HighestNonce != 5 {
		t.Fatalf("batch %v", batch)
	}
	if c := clients(); c[0].Current.HighestNonce != 5 {
		t.Errorf("mark %d while it is written", c[0].Current.HighestNonce)
	}
	l.add([]sessions.Entry{used('1', 9), used('2', 1)}, nil)
	l.endFlush(errNoDisk, math.MaxUint32)
	if c := clients(); c[0].Current.HighestNonce != 9 {
		t.Errorf("mark %d after a failure", c[0].Current.HighestNonce)
	}
	if l.add([]sessions.Entry{used('1', 10)}, nil) {
		t.Error("added while flushes fail")
	}
	batch, _ := l.beginFlush()
	sortEntries(batch)
	if want := []sessions.Entry{used('1', 9), used('2', 1)}; !slices.Equal(batch, want) {
		t.Errorf("batch %v, want %v", batch, want)
	}
	l.endFlush(nil, math.MaxUint32)
	if batch, _ := l.beginFlush(); !l.add(nil, nil) || len(batch) != 0 {
		t.Error("not clean after a flush")
	}
}

// TestErrorsAreLoggedOnceAMinute: and once when they are over.
func TestErrorsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := textLog(&text)
		var tr errorLog
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

// TestChangeAfterTheEnd: a reload during the end of the server gets an error.
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
	if err := s.RaiseNonces(nil); err == nil {
		t.Error("a closed file was read")
	}
}
