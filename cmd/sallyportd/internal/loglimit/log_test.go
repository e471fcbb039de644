package loglimit

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reader is a log's reader that a test stalls, or has go away.
type reader struct {
	mu    sync.Mutex
	lines []slog.Record
	at    []time.Time
	err   error
	stall chan struct{} // until it is closed, Write does not return; nil: it does
}

func (r *reader) Write(x slog.Record) error {
	r.mu.Lock()
	stall := r.stall
	r.mu.Unlock()
	if stall != nil {
		<-stall
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.lines, r.at = append(r.lines, x), append(r.at, time.Now())
	return nil
}

func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// stop makes the reader take nothing until goOn is called.
func (r *reader) stop() (goOn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stall := make(chan struct{})
	r.stall = stall
	return func() { close(stall) }
}

// read returns the lines, and forgets them.
func (r *reader) read() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.lines {
		text := x.Message
		x.Attrs(func(a slog.Attr) bool { text += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
		all = append(all, text)
	}
	r.lines = nil
	return all
}

// leftOutBy returns how many lines a line reports as left out.
func leftOutBy(line string) (n int) {
	if _, left, ok := strings.Cut(line, "left_out="); ok {
		fmt.Sscan(left, &n)
	}
	return n
}

func (r *reader) log(budget *Budget) *Log {
	if budget == nil {
		budget = NewBudget(time.Now)
	}
	return New(Config{Write: r.Write, Level: slog.LevelInfo, Now: time.Now, Wall: time.Now, Budget: budget})
}

// TestNoSecondHasTenLines: many clients flood two processes that share a budget, of which
// one is a holder. In no second are 10 lines written, and all are written or reported.
func TestNoSecondHasTenLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader // of both
		shared := NewBudget(time.Now)
		holder := &Budget{shared: shared.shared, own: shared.own, now: shared.now}
		logs := []*Log{out.log(&Budget{shared: shared.shared, now: shared.now}), out.log(holder)}
		sent := 0
		for second := range 100 {
			for i := range 500 {
				logs[i%2].Info("opened", "client", i, "service", second%3)
				sent++
			}
			time.Sleep(time.Second)
		}
		for _, l := range logs {
			l.Close(time.Second)
		}
		accounted := 0
		for _, line := range out.read() {
			if !strings.HasPrefix(line, leftOut) {
				accounted++
			}
			accounted += leftOutBy(line)
		}
		if accounted != sent {
			t.Errorf("%d lines, of which %d were written or reported", sent, accounted)
		}
		for i := range out.at[:len(out.at)-9] {
			if took := out.at[i+9].Sub(out.at[i]); took <= time.Second {
				t.Fatalf("10 lines within %s", took)
			}
		}
		if len(out.at) < 700 {
			t.Errorf("%d lines in 100 s: slots stay unused", len(out.at))
		}
	})
}

// TestOtherProcessHasSlots: a process whose lines fill the budget leaves as many slots to
// another one, which waits for none longer than for two slots.
func TestOtherProcessHasSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewBudget(time.Now)
		var out [2]reader
		var logs [2]*Log
		for i := range logs {
			logs[i] = out[i].log(&Budget{shared: shared.shared, now: shared.now})
		}
		for second := range 100 {
			for i := range 500 {
				logs[0].Info("opened", "client", i, "service", second%3)
				logs[1].Info("opened", "client", i, "service", second%3)
			}
			time.Sleep(time.Second)
		}
		for i, l := range logs {
			l.Close(0)
			lines := out[i].at
			if len(lines) < 250 {
				t.Errorf("process %d wrote %d lines in 100 s", i, len(lines))
			}
			for k := range lines[1:] {
				if waited := lines[k+1].Sub(lines[k]); waited > 2*(slotPause+courtesy) {
					t.Errorf("process %d waited for %s", i, waited)
				}
			}
		}
	})
}

// TestLeftOutIsReported: within a minute, although nothing else is logged.
func TestLeftOutIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader
		log := out.log(nil)
		for range perOwner.Burst {
			log.Info("opened", "client", "evil")
		}
		time.Sleep(3 * time.Second) // until they are written
		for range 80 {
			log.Info("opened", "client", "evil")
		}
		time.Sleep(overdue - time.Second)
		if n := len(out.read()); n != perOwner.Burst {
			t.Errorf("%d lines of one client", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		text := strings.Join(out.read(), "\n")
		if text != "log lines left out message=opened left_out=80 kinds=80 opened" {
			t.Errorf("%q", text)
		}
		for range 30 { // the bucket has 12 again
			log.Info("opened", "client", "evil")
		}
		time.Sleep(10 * time.Second)
		log.Info("opened", "client", "evil")
		synctest.Wait()
		// The first lines may be written while the others come.
		got, left := out.read(), 0
		for _, line := range got {
			left += leftOutBy(line)
		}
		if len(got) != 13 || left != 18 {
			t.Errorf("%d lines, %d left out: %q", len(got), left, got)
		}
		if log.LeftOut() != 98 {
			t.Errorf("LeftOut: %d", log.LeftOut())
		}
		log.Close(time.Second)
		if got := out.read(); len(got) != 0 {
			t.Errorf("at the end: %q", got)
		}
	})
}

// TestOwnNumber: the number of lines left out adds to that of the line itself.
func TestOwnNumber(t *testing.T) {
	for _, own := range []any{uint64(5), 5} {
		r := slog.NewRecord(start, slog.LevelInfo, "program output", 0)
		r.Add("left_out", own, "text", "x")
		got := withLeftOut(r, 3)
		if value(got, "left_out").Uint64() != 8 || got.NumAttrs() != 2 || value(got, "text").String() != "x" {
			t.Errorf("%v", got)
		}
	}
}

// TestCloseReports: lines that wait at the end are written for a second; the rest is reported.
func TestCloseReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader
		log := out.log(nil)
		for i := range 1000 {
			log.Info("opened", "client", i)
		}
		log.Info("stopped")
		start := time.Now()
		log.Close(time.Second)
		log.Info("too late")
		got := out.read()
		last := got[len(got)-1]
		if took := time.Since(start); took > time.Second+2*slotPause || len(got) > 20 {
			t.Errorf("took %s, %d lines", took, len(got))
		}
		want := fmt.Sprintf("log lines left out message=opened left_out=%d kinds=%[1]d opened", 1000-(len(got)-2))
		if last != want {
			t.Errorf("%q, expected %q", last, want)
		}
		if !strings.Contains(strings.Join(got, "\n"), "stopped") {
			t.Errorf("%q", got)
		}
	})
}

// TestReaderStalls: a log call returns, however long the reader takes no line, and Close
// does, too. When the reader goes on, the lines that found no place are reported.
func TestReaderStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader
		log := out.log(nil)
		goOn := out.stop()
		for i := range 1000 {
			log.Info("opened", "client", i) // would deadlock if it waited
		}
		if log.LeftOut() != 1000-capacity-1 && log.LeftOut() != 1000-capacity {
			t.Errorf("%d lines left out", log.LeftOut())
		}
		time.Sleep(time.Hour)
		goOn()
		time.Sleep(capacity * time.Second / 4)
		text := strings.Join(out.read(), "\n")
		n := strings.Count(text, "opened client=")
		if uint64(n)+log.LeftOut() != 1000 || !strings.Contains(text, fmt.Sprintf("left_out=%d ", log.LeftOut())) {
			t.Errorf("%d lines, %d left out:\n%s", n, log.LeftOut(), text)
		}
		goOn = out.stop()
		log.Info("last")
		start := time.Now()
		log.Close(time.Second)
		if took := time.Since(start); took > stallTime+stallTime/5 {
			t.Errorf("Close took %s", took)
		}
		goOn()
	})
}

// TestReaderIsGone: every write fails for a while. One line is lost, counted, and reported
// when writes succeed, although nothing else is logged; the others wait.
func TestReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := reader{err: errors.New("no space left on device")}
		log := out.log(nil)
		for range 3 {
			log.Info("lost")
			time.Sleep(time.Second)
		}
		out.fail(nil)
		time.Sleep(2 * time.Second)
		got := fmt.Sprintf("%q", out.read())
		if log.Dropped() != 1 || got != `["log lines dropped lines=1" "lost" "lost"]` {
			t.Errorf("dropped %d, and wrote %s", log.Dropped(), got)
		}
		out.fail(errors.New("broken pipe"))
		log.Info("last")
		start := time.Now()
		log.Close(time.Second)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %s", took)
		}
	})
}

// TestValuesDoNotChange: a line is written later than it is logged.
func TestValuesDoNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader
		log := out.log(nil)
		list := []string{"before"}
		var none *time.Time
		at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
		log.With("a", 1).WithGroup("g").With(slog.Group("h", "b", true)).Info("line", "list", list, "for", 90*time.Second, "at", at, "none", none, "err", errors.New("why"))
		list[0] = "after"
		synctest.Wait()
		got := strings.Join(out.read(), "\n")
		if got != "line a=1 g.h.b=true g.list=[before] g.for=1m30s g.at=2026-01-02T03:04:05.006Z g.none=!PANIC: value method time.Time.MarshalText called using nil *Time pointer g.err=why" {
			t.Errorf("%q", got)
		}
		log.Debug("below the level")
		log.Close(time.Second)
		if more := out.read(); len(more) != 0 {
			t.Errorf("%q", more)
		}
	})
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader
		log := out.log(nil)
		var g sync.WaitGroup
		for i := range 4 {
			g.Go(func() {
				for range 100 {
					log.Warn("line", "client", i)
					log.Dropped()
				}
			})
		}
		g.Wait()
		time.Sleep(2 * time.Minute)
		if n := strings.Count(strings.Join(out.read(), "\n"), "line client="); uint64(n)+log.LeftOut() != 400 {
			t.Errorf("%d lines written, and %d left out", n, log.LeftOut())
		}
		log.Close(time.Second)
	})
}

// TestLongText: a text from elsewhere is cut, so that a line has a bound.
func TestLongText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out reader
		l := out.log(nil)
		l.Warn("failed", "error", errors.New(strings.Repeat("x", maxText)), "short", "y")
		l.Warn("failed", "error", errors.New(strings.Repeat("x", maxText-1)+"\u00e9"+strings.Repeat("z", 1<<20)), "short", "y")
		l.Close(time.Second)
		want := []string{
			"failed error=" + strings.Repeat("x", maxText) + " short=y",
			"failed error=" + strings.Repeat("x", maxText-1) + "... (1048578 more bytes) short=y",
		}
		for i, line := range out.read() {
			if line != want[i] {
				t.Errorf("line %d has %d bytes, and ends with %q", i, len(line), line[len(line)-40:])
			}
		}
	})
}
