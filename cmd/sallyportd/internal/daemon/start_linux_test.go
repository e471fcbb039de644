package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/state"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

// served makes a state file that a server has had, with entries, and returns
// a copy as the server leaves it when it ends, or as a crash does.
func served(t *testing.T, relaxed, crash bool, entries ...sessions.Entry) (dir string) {
	t.Helper()
	dir = t.TempDir()
	running, left := filepath.Join(dir, "running"), filepath.Join(dir, "left")
	if err := state.Create(running); err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(t.Context(), state.Config{
		Dir: running, Relaxed: relaxed, Now: time.Now(), Log: slog.New(slog.DiscardHandler), Wait: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.RecordLeases(entries, nil)
	if crash {
		err = errors.Join(err, os.CopyFS(left, os.DirFS(running)), s.Close())
	} else {
		err = errors.Join(err, s.Close(), os.CopyFS(left, os.DirFS(running)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestStartIsAGap: a sequence that was sent while no server listened opens
// nothing if it is replayed after the start, and a client that knocks once the
// server is ready gets in by its first attempt.
func TestStartIsAGap(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(set *setup) { set.stateDir = served(t, false, false) })
	started := w.clock.base.Add(20 * time.Second) // the second in which the world's clock begins
	overheard, err := client.Sequence(w.profile("com1", server4), started, 10)
	if err != nil {
		t.Fatal(err)
	}
	w.sendUntil(t, "198.51.100.3", overheard, "the refusals", func() bool { return w.server.sessions.Stats()[sessions.BeforeStart] == 3 })
	if w.opened() != 0 {
		t.Error("what was overheard before the start opens")
	}
	w.sendSequence(t, "com1", 20)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
}

// TestSleepIsAGap: a sequence that was sent while the host was suspended opens
// nothing if it is replayed when the host is awake, and a client that knocks then
// gets in from the next second on.
func TestSleepIsAGap(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, nil)
	overheard, err := client.Sequence(w.profile("com1", server4), w.clock.base.Add(25*time.Second), 10)
	if err != nil {
		t.Fatal(err)
	}
	before := w.server.start.since()
	w.clock.host.Suspend(10 * time.Second)
	w.until(t, "the server to notice", func() bool { return w.server.start.since().After(before) })
	w.sendUntil(t, "198.51.100.3", overheard, "the refusals", func() bool { return w.server.sessions.Stats()[sessions.BeforeStart] == 3 })
	if w.opened() != 0 {
		t.Error("what was overheard meanwhile opens")
	}
	w.clock.host.Pass(time.Second)
	w.sendSequence(t, "com1", 20)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
}

// TestFreshStart: nothing was ever sent to a server that has never run, so it is
// ready without a pause.
func TestFreshStart(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, nil)
	w.sendSequence(t, "com1", 20)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
	if gap := w.server.start.gap; !gap.Fresh {
		t.Errorf("%+v", gap)
	}
}

// TestLostStamps: after the crash of a relaxed server what may have been used
// without a record is refused, as far as any knock that was accepted was stamped,
// and nothing else.
func TestLostStamps(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	// A client whose clock runs ahead of the server's, by what the world's clock
	// shows at the start.
	w := newWorld(t, func(set *setup) {
		ahead := set.now.Truncate(time.Minute).Add(72 * time.Second)
		var window replay.Window
		window.Accept(5)
		set.stateDir = served(t, true, true, sessions.Entry{
			Identifier: wire.Identifier([]byte("com2")), HighestNonce: 5, Ring: window.Ring(), Stamp: uint32(ahead.Unix()),
		})
		set.keys = "durability = \"relaxed\""
	})
	lost := int(w.server.start.gap.LostUntil.Sub(w.clock.base) / time.Second)
	if lost < 70 || lost > 140 {
		t.Fatalf("lost until second %d", lost)
	}
	doubtful := func() uint64 { return w.server.sessions.Stats()[sessions.BeforeStart] }
	for _, second := range []int{25, lost} {
		w.clock.SetSecond(second)
		w.moved(t)
		before := doubtful()
		packets, err := client.Sequence(w.profile("com1", server4), w.clock.at(second), uint32(100*second))
		if err != nil {
			t.Fatal(err)
		}
		w.sendUntil(t, "198.51.100.2", packets, "the refusals", func() bool { return doubtful() >= before+3 })
	}
	if w.opened() != 0 {
		t.Error("opened")
	}
	w.clock.SetSecond(lost + 1)
	w.moved(t)
	w.sendSequence(t, "com1", 100_000)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
}

// TestLossIsDoubted: a server whose state is missing refuses what is stamped up
// to a minute after its start, by whatever its clock shows then: one that was set
// back by hours locks no client out for hours.
func TestLossIsDoubted(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(set *setup) { set.stateDir, set.lost = filepath.Join(t.TempDir(), "none"), true })
	const back = -8 * time.Hour
	w.clock.host.Step(back)
	w.clock.base = w.clock.base.Add(back)
	base := uint32(0)
	for _, row := range []struct {
		second int
		opens  uint64
	}{{25, 0}, {72, 0}, {83, 1}} {
		w.clock.pass(row.second)
		w.moved(t)
		base += 10
		before := w.server.sessions.Stats()
		packets, err := client.Sequence(w.profile("com1", server4), w.clock.at(row.second), base)
		if err != nil {
			t.Fatal(err)
		}
		w.sendUntil(t, "198.51.100.2", packets, "the decision", func() bool {
			now := w.server.sessions.Stats()
			return now[sessions.BeforeStart]-before[sessions.BeforeStart] >= 3 || now[sessions.Opened] > before[sessions.Opened]
		})
		if got := w.opened(); got != row.opens {
			t.Errorf("second %d: opened %d", row.second, got)
		}
	}
}

// logText is a log that a server writes while a test reads it.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns the text written since the last call of take.
func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// take returns the text written since the last call.
func (l *logText) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// TestStartIsLogged: once a minute, while knocks are rejected because of it; and if the
// clock shows less than before.
func TestStartIsLogged(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var text logText
	w := newWorld(t, func(set *setup) {
		set.stateDir = served(t, false, false, sessions.Entry{Identifier: wire.Identifier([]byte("com2")), Ring: replay.Ring{1}, Stamp: uint32(time.Now().Add(time.Hour).Unix())})
		set.log = slog.New(slog.NewTextHandler(&text, nil))
	})
	watch := w.server.watchStart()
	look := func() string {
		text.take()
		watch.check(w.server)
		return text.take()
	}
	if got := look(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "is behind an accepted knock") {
		t.Errorf("a clock that is behind: %q", got)
	}
	w.clock.host.Step(2 * time.Hour)
	w.until(t, "the step", func() bool { return w.server.status().Clock.Steps == 1 })
	if got := look(); got != "" {
		t.Errorf("nothing: %q", got)
	}
	w.clock.base = w.clock.base.Add(2 * time.Hour)
	w.moved(t)
	// Stamped in the second of the start, however long ago that is.
	c := w.clock.host.Clock()
	stamp := time.Unix(sessions.Threshold(c.Wall(), c.Boot(), w.server.start.since()), 0)
	packets, err := client.Sequence(w.profile("com1", server4), stamp, 10)
	if err != nil {
		t.Fatal(err)
	}
	w.sendUntil(t, "198.51.100.3", packets, "the refusals", func() bool { return w.server.sessions.Stats()[sessions.BeforeStart] == 3 })
	got := look()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "refused=3") || !strings.Contains(got, "stamped_until=") {
		t.Errorf("refused knocks: %q", got)
	}
	if got := look(); got != "" {
		t.Errorf("none since: %q", got)
	}
}
