package state

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions"
)

// TestRelaxed: what was recorded is on disk after a while, and known at once.
// After a crash the time of the next start is doubted, also by the start after
// that, and also if the store is then a strict one; after a clean stop none.
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
		early := crash(t, s)
		time.Sleep(flushPause + time.Millisecond)
		synctest.Wait()
		late := crash(t, s)
		record(t, s, used('1', 13), used('1', 20), used('1', 14))
		closeStore(t, s)

		for name, row := range map[string]struct {
			cfg   Config
			mark  uint32
			doubt bool
		}{
			"a crash before the flush": {relaxed(early), 7, true},
			"a crash after it":         {relaxed(late), 12, true},
			"a clean stop":             {relaxed(dir), 20, false},
		} {
			s := open(t, row.cfg)
			if got := marks(t, s, "1"); got[0] != row.mark {
				t.Errorf("%s: mark %d, want %d", name, got[0], row.mark)
			}
			if got := s.Doubt().Equal(start.Add(time.Minute)); got != row.doubt {
				t.Errorf("%s: doubted until %v", name, s.Doubt())
			}
			closeStore(t, s)
		}
		next := config(late)
		next.Now = start.Add(10 * time.Second)
		s = open(t, next)
		if !s.Doubt().Equal(start.Add(time.Minute)) {
			t.Errorf("the start after that: doubted until %v", s.Doubt())
		}
		closeStore(t, s)
	})
}

// TestDoubtCoversTheWiderTolerance: knocks that were taken while the tolerance
// was wider may be stamped as far ahead.
func TestDoubtCoversTheWiderTolerance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := Create(dir); err != nil {
			t.Fatal(err)
		}
		cfg := relaxed(dir)
		cfg.Tolerance = 5 * time.Second
		s := open(t, cfg)
		if err := s.Widen(30 * time.Second); err != nil {
			t.Fatal(err)
		}
		if err := s.Widen(7 * time.Second); err != nil {
			t.Fatal(err)
		}
		cfg.Dir = crash(t, s)
		closeStore(t, s)
		s = open(t, cfg)
		if want := start.Add(30 * time.Second); !s.Doubt().Equal(want) {
			t.Errorf("doubted until %v, want %v", s.Doubt(), want)
		}
		closeStore(t, s)
	})
}

// TestLateKeepsTheHighest: whatever order entries and failing flushes come in,
// no mark is lost, and while flushes fail nothing is taken.
func TestLateKeepsTheHighest(t *testing.T) {
	var l late
	l.waiting = entryOf{}
	clients := func() []sessions.Client {
		c := []sessions.Client{{Identifier: used('1', 0).Identifier}}
		var marks [1]uint32
		l.marks(c, marks[:])
		c[0].Mark = marks[0]
		return c
	}
	l.take([]sessions.Entry{used('1', 5)})
	if batch := l.begin(); len(batch) != 1 || batch[0].Mark != 5 {
		t.Fatalf("batch %v", batch)
	}
	if c := clients(); c[0].Mark != 5 {
		t.Errorf("mark %d while it is written", c[0].Mark)
	}
	l.take([]sessions.Entry{used('1', 9), used('2', 1)})
	l.end(errNoDisk)
	if c := clients(); c[0].Mark != 9 {
		t.Errorf("mark %d after a failure", c[0].Mark)
	}
	if l.take([]sessions.Entry{used('1', 10)}) {
		t.Error("taken while flushes fail")
	}
	batch := l.begin()
	sortEntries(batch)
	if want := []sessions.Entry{used('1', 9), used('2', 1)}; !slices.Equal(batch, want) {
		t.Errorf("batch %v, want %v", batch, want)
	}
	l.end(nil)
	if !l.take(nil) || len(l.begin()) != 0 {
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
		if n := strings.Count(got, "nothing opens: nonces cannot be recorded"); n != 3 {
			t.Errorf("%d lines in 150 s", n)
		}
		if strings.Count(got, "can be written again") != 1 || !strings.Contains(got, "refused=120") {
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
		Dir: t.TempDir(), Relaxed: true, Tolerance: 30 * time.Second, Now: time.Now(), Wait: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Widen(time.Minute); err == nil {
		t.Error("a closed file was changed")
	}
	if err := s.Raise(nil); err == nil {
		t.Error("a closed file was read")
	}
}
