package logqueue

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// reader is a log's reader that a test stalls, or has go away.
type reader struct {
	mu    sync.Mutex
	text  strings.Builder
	sizes []int
	err   error
	stall chan struct{} // until it is closed, Write does not return; nil: it does
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stall := r.stall
	r.mu.Unlock()
	if stall != nil {
		<-stall
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	r.sizes = append(r.sizes, len(p))
	return r.text.Write(p)
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

func (r *reader) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// TestReaderStalls: a log call returns, however long the reader takes no line;
// the queue holds Capacity, and lost lines are counted and reported.
func TestReaderStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reader
		log, q := New(&r, slog.LevelInfo)
		log.Info("before")
		synctest.Wait()
		goOn := r.stop()
		const lines = 4 * Capacity / 100
		for i := range lines {
			log.Info(strings.Repeat("x", 100), "n", i) // would deadlock if it waited
		}
		lost := q.Dropped()
		if lost == 0 || lost >= lines {
			t.Fatalf("%d of %d lines were dropped", lost, lines)
		}
		goOn()
		synctest.Wait()
		log.Info("after")
		synctest.Wait()
		text := r.read()
		if got := strings.Count(text, "xxx n="); uint64(got)+lost != lines {
			t.Errorf("%d lines were written and %d dropped, of %d", got, lost, lines)
		}
		if !strings.Contains(text, fmt.Sprintf("level=WARN msg=\"log lines dropped\" lines=%d\n", lost)) || !strings.HasSuffix(text, "msg=after\n") {
			t.Errorf("the log does not tell of %d lost lines, or does not go on: …%s", lost, text[len(text)-300:])
		}
		if most := slices.Max(r.sizes); most > chunk {
			t.Errorf("%d bytes were written at a time, more than a pipe takes whole", most)
		}
		q.Close(time.Second)
	})
}

// TestReaderIsGone: every write fails for a while. Lines are lost and counted,
// and the log goes on when it can.
func TestReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reader{err: errors.New("broken pipe")}
		log, q := New(&r, slog.LevelInfo)
		for range 3 {
			log.Info("lost")
			time.Sleep(time.Second)
		}
		r.fail(nil)
		log.Info("back")
		synctest.Wait()
		text := r.read()
		reported := strings.Contains(text, "msg=\"log lines dropped\" lines=3\n")
		if q.Dropped() != 3 || !reported || !strings.HasSuffix(text, "msg=back\n") || strings.Contains(text, "msg=lost") {
			t.Errorf("dropped %d, and wrote:\n%s", q.Dropped(), text)
		}
		q.Close(time.Second)
	})
}

// TestClose: Close writes the lines that wait, but does not wait for a reader that
// takes nothing, and does not retry a failed write for ever.
func TestClose(t *testing.T) {
	for _, row := range []struct {
		name  string
		stall bool
		err   error
		took  time.Duration
		want  string
	}{
		{"in order", false, nil, 0, "msg=last\n"},
		{"stalled", true, nil, time.Second, ""},
		{"gone", false, errors.New("broken pipe"), 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := reader{err: row.err}
				if row.stall {
					defer r.stop()()
				}
				log, q := New(&r, slog.LevelInfo)
				start := time.Now()
				log.Info("last")
				q.Close(time.Second)
				if took := time.Since(start); took > row.took || !strings.HasSuffix(r.read(), row.want) {
					t.Errorf("took %s, and wrote %q", took, r.read())
				}
				log.Info("too late")
				synctest.Wait()
				if strings.Contains(r.read(), "too late") || q.Dropped() == 0 {
					t.Errorf("a closed queue took a line, or did not count it: %q", r.read())
				}
			})
		})
	}
}

// TestEveryLineIsWrittenOrCounted: in whatever order lines, stalls and failures
// come, the lines that are written are whole and in order, and those that are not
// are counted and reported exactly.
func TestEveryLineIsWrittenOrCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out, reported, sent := &flaky{}, 0, 0
		q := &Queue{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
		t.Repeat(map[string]func(*rapid.T){
			"line": func(t *rapid.T) {
				size := rapid.SampledFrom([]int{1, 100, chunk + 1, Capacity / 3, Capacity + 1}).Draw(t, "size")
				fmt.Fprintf(q, "line=%d %s\n", sent, strings.Repeat("x", size))
				sent++
			},
			"write":      func(*rapid.T) { step(q) },
			"write, bad": func(*rapid.T) { out.bad = true; step(q); out.bad = false },
		})
		q.closed = true
		for step(q) {
		}
		written, last := 0, -1
		for line := range strings.Lines(out.text.String()) {
			var n int
			if _, err := fmt.Sscanf(line, "line=%d", &n); err == nil {
				if n <= last {
					t.Fatalf("line %d came after line %d", n, last)
				}
				last, written = n, written+1
			} else if _, notice, ok := strings.Cut(line, "lines="); ok {
				fmt.Sscanf(notice, "%d", &n)
				reported += n
			} else {
				t.Fatalf("half a line: %.80q", line)
			}
		}
		if written+reported != sent || uint64(reported) != q.Dropped() {
			t.Fatalf("%d lines: %d written, %d reported as lost, %d counted", sent, written, reported, q.Dropped())
		}
	})
}

// step writes one part, as run does, and reports whether there was one.
func step(q *Queue) bool {
	p := q.next(nil)
	if len(p.text) == 0 {
		return false
	}
	_, err := q.out.Write(p.text)
	q.account(p, err)
	return true
}

type flaky struct {
	text strings.Builder
	bad  bool
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.bad {
		return 0, errors.New("no space left on device")
	}
	return f.text.Write(p)
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	var r reader
	log, q := New(&r, slog.LevelInfo)
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for range 100 {
				log.Log(t.Context(), slog.LevelWarn, "line")
				q.Dropped()
			}
		})
	}
	g.Wait()
	q.Close(time.Minute)
	if got := strings.Count(r.read(), "msg=line"); got != 400 {
		t.Errorf("%d lines, expected 400", got)
	}
}
