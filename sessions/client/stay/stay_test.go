package stay

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
)

// world is a server and a network in place of the real ones.
type world struct {
	host *clocktest.Host

	mu      sync.Mutex    // the test holds it, except while it sleeps
	latency time.Duration // of knocks
	err     error         // of knocks; nil: they open

	begun   []time.Time // by the clock Boot
	why     []Reason
	aborted int
	events  []Event
	changes chan<- struct{}
	aims    [][]netip.Addr
}

var serverAddress = netip.MustParseAddr("203.0.113.5")

func (w *world) knock(ctx context.Context, why Reason) (client.Result, []netip.Addr, error) {
	w.mu.Lock()
	w.begun, w.why = append(w.begun, w.host.Clock().Boot()), append(w.why, why)
	latency, err := w.latency, w.err
	w.mu.Unlock()
	if pause(ctx, latency) != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.aborted++
		return client.Result{}, nil, ctx.Err()
	}
	addresses := []netip.Addr{serverAddress}
	return client.Result{Address: serverAddress, Watched: true}, addresses, err
}

func (w *world) watch(ctx context.Context, addresses <-chan []netip.Addr, changes chan<- struct{}) {
	w.changes = changes // before the test looks
	for {
		select {
		case <-ctx.Done():
			return
		case to := <-addresses:
			w.mu.Lock()
			w.aims = append(w.aims, to)
			w.mu.Unlock()
		}
	}
}

// start begins to keep a service open. The test must call end.
func (w *world) start(t *testing.T, cfg Config) (end func() error) {
	t.Helper()
	w.host = clocktest.NewHost()
	cfg.Sequence, cfg.Clock = &client.Config{}, w.host.Clock()
	cfg.Report = func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	k := newKeeper(cfg)
	k.knock = w.knock
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.run(ctx, w.watch) }()
	synctest.Wait()
	w.mu.Lock()
	return func() error {
		w.mu.Unlock()
		cancel()
		return <-done
	}
}

// sleep sleeps, and then waits until all others do.
func (w *world) sleep(d time.Duration) {
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
}

// latest returns the last event.
func (w *world) latest() Event {
	if len(w.events) == 0 {
		return nil
	}
	return w.events[len(w.events)-1]
}

// TestRenewals: no lease lapses in a day, and knocks are no more than required.
func TestRenewals(t *testing.T) {
	for _, openFor := range []time.Duration{0, 3 * time.Second, 30 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{latency: 100 * time.Millisecond}
			end := w.start(t, Config{OpenFor: openFor})
			w.sleep(24 * time.Hour)
			if err := end(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			lease := openFor
			if openFor == 0 {
				lease = DefaultOpenFor
			}
			for i, begun := range w.begun[1:] {
				if gap := begun.Add(w.latency).Sub(w.begun[i]); gap > lease {
					t.Fatalf("open_for %s: the service was closed %s after knock %d", openFor, gap, i)
				}
			}
			if most := int(24 * time.Hour / renewEvery(lease)); len(w.begun) > most+1 {
				t.Errorf("open_for %s: %d knocks, %d were expected", openFor, len(w.begun), most)
			}
			for i, e := range w.events {
				opened, ok := e.(Opened)
				if !ok || opened.Restored || (opened.Reason == Start) != (i == 0) || opened.For != max(openFor-w.latency, 0) {
					t.Fatalf("event %d: %+v", i, e)
				}
			}
			if len(w.aims) != 1 || !slices.Equal(w.aims[0], []netip.Addr{serverAddress}) {
				t.Errorf("watched the ways to %s", w.aims)
			}
		})
	}
}

// TestSince: after a knock of the caller, the first one is a renewal.
func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		begun := time.Now()
		end := w.start(t, Config{OpenFor: 10 * time.Second, Since: begun})
		w.sleep(4*time.Second - 1)
		if len(w.begun) != 0 {
			t.Errorf("knocked at once: %s", w.why)
		}
		w.sleep(1)
		if len(w.begun) != 1 || w.why[0] != Renewal {
			t.Errorf("knocks %s", w.why)
		}
		end()
	})
}

// TestSuspension: timers stand still, and a knock follows at once when the host resumes.
func TestSuspension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{latency: 10 * time.Millisecond}
		end := w.start(t, Config{OpenFor: time.Hour})
		w.sleep(10 * time.Second)
		w.host.Step(3 * time.Hour) // the wall clock is set: no lease ends
		w.sleep(10 * time.Second)
		if len(w.begun) != 1 {
			t.Errorf("the wall clock was set, and knocks followed: %s", w.why)
		}
		w.host.Suspend(30 * time.Second)
		w.sleep(settleTime + w.latency)
		if len(w.begun) != 2 || w.why[1] != Resume {
			t.Errorf("after a suspension: knocks %s", w.why)
		}
		if len(w.events) != 3 || w.events[1] != (Moving{Resume}) {
			t.Errorf("events %+v", w.events)
		}
		end()
	})
}

// TestResumeByTicks: the systems without events, whose clocks may continue or not.
func TestResumeByTicks(t *testing.T) {
	for _, row := range []struct {
		passed passed
		want   bool
	}{
		{passed{tick, tick, 0}, false},
		{passed{tick + stall, tick + stall, 0}, false},
		{passed{time.Hour, tick, 0}, true},
		{passed{time.Hour, time.Hour, 0}, true},
		{passed{-time.Hour, tick, 0}, false}, // the wall clock was set back
	} {
		if got := byLateTick(row.passed); got != row.want {
			t.Errorf("%+v: %t", row.passed, got)
		}
	}
}

// TestChange: a change ends a knock that waits, and another begins when the network has
// settled.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{latency: 10 * time.Millisecond}
		end := w.start(t, Config{OpenFor: time.Hour})
		w.sleep(10 * time.Second)
		w.latency, w.err = time.Hour, nil
		w.changes <- struct{}{}
		w.sleep(settleTime)
		if len(w.begun) != 2 || w.why[1] != Network || w.aborted != 0 {
			t.Fatalf("knocks %s, %d aborted", w.why, w.aborted)
		}
		w.sleep(time.Second)
		w.latency, w.err = 10*time.Millisecond, nil
		w.changes <- struct{}{}
		w.sleep(leastGap)
		if len(w.begun) != 3 || w.why[2] != Network || w.aborted != 1 {
			t.Errorf("knocks %s, %d aborted", w.why, w.aborted)
		}
		last, opened := w.latest().(Opened)
		if len(w.events) != 4 || w.events[1] != (Moving{Network}) || w.events[2] != (Moving{Network}) || !opened || last.Reason != Network || last.Restored {
			t.Errorf("events %+v", w.events)
		}
		// A storm of changes makes few knocks.
		before := len(w.begun)
		for range 600 {
			w.sleep(100 * time.Millisecond)
			offer(w.changes, struct{}{})
		}
		made := len(w.begun) - before
		if made > int(time.Minute/maxSettle)+1 || made < int(time.Minute/(maxSettle+leastGap)) {
			t.Errorf("%d knocks in a minute of changes", made)
		}
		end()
	})
}

// TestEnd: a renewal may complete at the end, for a moment; other knocks end at once.
func TestEnd(t *testing.T) {
	for name, row := range map[string]struct {
		renewal bool
		latency time.Duration
		took    time.Duration
		aborted int
	}{
		"first":        {false, time.Minute, 0, 1},
		"renewal":      {true, 100 * time.Millisecond, 100 * time.Millisecond, 0},
		"slow renewal": {true, time.Minute, grace, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{latency: row.latency}
				cfg := Config{OpenFor: time.Minute}
				if row.renewal {
					cfg.Since = time.Now().Add(-time.Minute)
				}
				end := w.start(t, cfg)
				begun := time.Now()
				if err := end(); !errors.Is(err, context.Canceled) || len(w.begun) != 1 {
					t.Errorf("%v, knocks %s", err, w.why)
				}
				if took := time.Since(begun); took != row.took || w.aborted != row.aborted {
					t.Errorf("ended after %s, %d knocks aborted", took, w.aborted)
				}
			})
		})
	}
}

// TestChangeOfTheCaller: the caller reports a change, until it closes the channel.
func TestChangeOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{latency: 10 * time.Millisecond}
		changed := make(chan struct{})
		end := w.start(t, Config{OpenFor: time.Hour, Changed: changed})
		w.sleep(10 * time.Second)
		changed <- struct{}{}
		w.sleep(time.Second)
		close(changed)
		w.sleep(time.Minute)
		if want := []Reason{Start, Network}; !slices.Equal(w.why, want) || w.latest().(Opened).Reason != Network {
			t.Errorf("knocks %s, want %s", w.why, want)
		}
		end()
	})
}

// TestFailures: each failure is reported, and the first one and its end are marked. Pauses
// grow.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{latency: time.Second, err: &client.OfflineError{}}
		end := w.start(t, Config{OpenFor: 10 * time.Second})
		w.sleep(10 * time.Minute)
		for i, e := range w.events {
			failed, ok := e.(Failed)
			if !ok || failed.Again != (i > 0) || !failed.Closed || failed.Retry != backoff(i+1) {
				t.Fatalf("event %d: %+v", i, e)
			}
		}
		if len(w.events) < 10 || len(w.events) > 20 {
			t.Errorf("%d failures in ten minutes", len(w.events))
		}
		w.latency, w.err = time.Second, nil
		w.sleep(maxBackoff + time.Second)
		opened := w.events[slices.IndexFunc(w.events, func(e Event) bool { _, ok := e.(Opened); return ok })].(Opened)
		if !opened.Restored || opened.Reason != Retry {
			t.Errorf("%+v", opened)
		}
		// The lease is still in force at the first failure, and not at a later one. A disk
		// that is full is no reason to end.
		w.latency, w.err = time.Second, &client.NonceError{}
		w.sleep(20 * time.Second)
		var closed []bool
		for _, e := range w.events[slices.IndexFunc(w.events, func(e Event) bool { _, ok := e.(Opened); return ok }):] {
			if failed, ok := e.(Failed); ok {
				closed = append(closed, failed.Closed)
			}
		}
		if len(closed) < 3 || closed[0] || !closed[len(closed)-1] {
			t.Errorf("closed: %t", closed)
		}
		end()
	})
}

// TestLastingErrors: Run ends if no later knock can succeed.
func TestLastingErrors(t *testing.T) {
	for name, row := range map[string]struct {
		err         error
		first, ends bool
	}{
		"exhausted":        {&client.ExhaustedError{}, false, true},
		"damaged":          {&client.DamagedError{}, false, true},
		"isn":              {&client.ISNError{}, true, true},
		"family":           {&client.FamilyError{}, true, true},
		"no file at first": {&client.NonceError{}, true, true},
		"no file later":    {&client.NonceError{}, false, false},
		"profile":          {errors.New("profile"), true, true},
		"offline":          {&client.OfflineError{}, true, false},
		"no name":          {&client.ResolveError{}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				if row.first {
					w.err = row.err
				}
				end := w.start(t, Config{OpenFor: 10 * time.Second})
				w.latency, w.err = 0, row.err
				w.sleep(time.Minute)
				err := end()
				if row.ends != errors.Is(err, row.err) || !row.ends && !errors.Is(err, context.Canceled) {
					t.Errorf("ended with %v", err)
				}
				if _, failed := w.latest().(Failed); failed == row.ends {
					t.Errorf("last event %+v", w.latest())
				}
			})
		})
	}
}

// TestConfig: configurations that Run refuses.
func TestConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no protocol":    {},
		"both protocols": {Sequence: &client.Config{}, Exchange: &client.ExchangeConfig{}},
		"too often":      {Sequence: &client.Config{}, Every: MinEvery - 1},
		"negative":       {Sequence: &client.Config{}, OpenFor: -1},
	} {
		if err := Run(t.Context(), cfg); err == nil || t.Context().Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
