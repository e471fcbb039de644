package loglimit

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// world is a log that is limited, and a clock.
type world struct {
	*slog.Logger
	out bytes.Buffer
	now time.Time
	l   *limiter
}

func newWorld() *world {
	w := &world{now: time.Unix(1_800_000_000, 0)}
	w.Logger = New(slog.New(slog.NewTextHandler(&w.out, nil)), func() time.Time { return w.now })
	w.l = w.Handler().(*handler).limiter
	return w
}

func (w *world) lines() (n int) {
	n = strings.Count(w.out.String(), "\n")
	w.out.Reset()
	return n
}

// TestOneClientHidesNoOther: a client that causes the same event again and again
// gets some lines, and every other client gets all of its lines.
func TestOneClientHidesNoOther(t *testing.T) {
	w := newWorld()
	for i := range 10_000 {
		w.Info("opened", "service", "web", "client", "evil", "address", i)
		if i%1000 == 0 {
			w.Info("opened", "service", "web", "client", fmt.Sprint(i))
			w.Info("opened", "service", "ssh", "client", fmt.Sprint(i))
		}
		w.now = w.now.Add(100 * time.Microsecond)
	}
	if n := w.lines(); n != perClient.Burst+20 {
		t.Errorf("%d lines", n)
	}
	// One line each Pause, which reports those before.
	w.now = w.now.Add(perClient.Pause)
	w.Info("opened", "service", "web", "client", "evil")
	// Some of those that were left out were reported with the lines of others.
	if text := w.out.String(); !strings.Contains(text, " left_out=999") {
		t.Error(text)
	}
}

// TestKindIsBounded: many clients, or lines that name none.
func TestKindIsBounded(t *testing.T) {
	for name, log := range map[string]func(w *world, i int){
		"clients": func(w *world, i int) {
			w.Error("failed to open services for an authenticated sequence", "client", i, "error", "no")
		},
		"no client": func(w *world, i int) {
			w.Error("failed to shorten or end a lease", "peer", i)
		},
		"with": func(w *world, i int) { w.With("client", i).WithGroup("x").Error("operation executed") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			for i := range 100_000 {
				log(w, i)
			}
			if n := w.lines(); n != perKind.Burst {
				t.Errorf("%d lines at once", n)
			}
			if len(w.l.owners) > maxOwners {
				t.Errorf("%d buckets", len(w.l.owners))
			}
			w.now = w.now.Add(time.Second)
			for i := range 1000 {
				log(w, i+200_000)
			}
			text := w.out.String()
			left := fmt.Sprintf("left_out=%d", 100_000-perKind.Burst)
			reported := strings.Contains(text, left+" ") || strings.Contains(text, left+"\n")
			if !reported || w.lines() != int(time.Second/perKind.Pause) {
				t.Error(text)
			}
			w.Info("another kind")
			if w.lines() != 1 {
				t.Error("another kind is left out")
			}
		})
	}
}

// TestLeftOutIsReported: also if no further line of the kind comes.
func TestLeftOutIsReported(t *testing.T) {
	w := newWorld()
	for range 100 {
		w.Info("opened", "client", "evil")
	}
	w.out.Reset()
	w.now = w.now.Add(overdue - 1)
	w.Info("traffic")
	if text := w.out.String(); strings.Contains(text, "left") {
		t.Error(text)
	}
	w.now = w.now.Add(1)
	w.out.Reset()
	w.Info("traffic")
	text := w.out.String()
	if !strings.Contains(text, `level=WARN msg="log lines left out" message=opened left_out=80`) || w.lines() != 2 {
		t.Error(text)
	}
	w.Info("traffic")
	if w.lines() != 1 {
		t.Error("reported twice")
	}
}

// TestBucketsAreGivenBack: clients of before take no room.
func TestBucketsAreGivenBack(t *testing.T) {
	w := newWorld()
	for i := range maxOwners {
		w.Info("opened", "client", i)
	}
	w.now = w.now.Add(time.Hour)
	for range 100 {
		w.Info("opened", "client", "evil")
	}
	if len(w.l.owners) != 1 {
		t.Errorf("%d buckets", len(w.l.owners))
	}
}
