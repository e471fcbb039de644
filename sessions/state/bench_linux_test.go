package state_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// stopwatch is a gate that records the time at which each grant takes effect.
type stopwatch struct{ opened []time.Time }

func (s *stopwatch) Open(grants []sessions.Grant) []error {
	for range grants {
		s.opened = append(s.opened, time.Now())
	}
	return nil
}

// counting counts the calls of a journal.
type counting struct {
	sessions.Journal
	calls int
}

func (c *counting) Record(e []sessions.Entry) []error {
	c.calls++
	return c.Journal.Record(e)
}

// BenchmarkKnockToOpen measures the time from a sequence's last knock, after
// its HMAC, to the moment when its grant takes effect, alone and at some
// thousands of grants a second. The disk's own time for a write and fdatasync
// of a page comes with it.
func BenchmarkKnockToOpen(b *testing.B) {
	for _, durability := range []string{"strict", "relaxed"} {
		for _, rate := range []int{0, 1000, 5000} { // 0: each after the one before
			b.Run(fmt.Sprintf("durability=%s/rate=%d", durability, rate), func(b *testing.B) {
				knockToOpen(b, durability == "relaxed", rate)
			})
		}
	}
}

func knockToOpen(b *testing.B, relaxed bool, rate int) {
	const clients = 20_000 // so many that no client has two pending grants, of which one would be superseded
	dir := b.TempDir()
	disk := fdatasyncs(b, dir)
	if err := state.Create(dir); err != nil {
		b.Fatal(err)
	}
	store, err := state.Open(b.Context(), state.Config{
		Dir: dir, Relaxed: relaxed, Now: time.Now(), Wait: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	list := make([]sessions.Client, clients)
	ids := make([]string, clients)
	for i := range list {
		ids[i] = fmt.Sprintf("%04x", i)
		list[i].Identifier = verifytest.ID(ids[i])
	}
	gate, journal := &stopwatch{opened: make([]time.Time, 0, b.N)}, &counting{Journal: store}
	s, err := sessions.New(sessions.Config{
		Clients: list, Shards: 2, Gate: gate, Journal: journal, Now: time.Now,
		Limit: sessions.Limit{Pause: 1, Burst: 1 << 30}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	knocks := sequences(b, ids, b.N)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	sent := make([]time.Time, b.N)
	source := netip.MustParseAddr("192.0.2.1")
	b.ResetTimer()
	start := time.Now()
	for i, k := range knocks {
		if rate > 0 {
			// Waking up takes longer than the pause: send all knocks that are due.
			if wait := time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))); wait > 0 {
				time.Sleep(wait)
			}
		}
		sent[i] = time.Now()
		s.Deliver(k, source)
		for rate == 0 && s.Stats()[sessions.Opened] <= uint64(i) {
			time.Sleep(10 * time.Microsecond)
		}
	}
	for s.Stats()[sessions.Opened] < uint64(b.N) {
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	// Grants of two shards may overtake each other a little; the times are
	// compared in order anyway.
	late := make([]time.Duration, b.N)
	for i := range late {
		late[i] = gate.opened[i].Sub(sent[i])
	}
	slices.Sort(late)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	b.ReportMetric(us(late[len(late)/2]), "p50-µs")
	b.ReportMetric(us(late[len(late)*99/100]), "p99-µs")
	b.ReportMetric(us(late[len(late)-1]), "max-µs")
	b.ReportMetric(float64(b.N)/took.Seconds(), "grants/s")
	b.ReportMetric(float64(b.N)/float64(journal.calls), "grants/record")
	b.ReportMetric(us(disk[len(disk)/2]), "fdatasync-p50-µs")
	b.ReportMetric(us(disk[len(disk)*99/100]), "fdatasync-p99-µs")
}

// sequences returns n sequences of one knock, of one client after the other.
func sequences(b *testing.B, ids []string, n int) []verify.Knock {
	all := verifytest.New(b, 1, ids...)
	knocks := make([]verify.Knock, n)
	for i := range knocks {
		knocks[i] = all.Knock(b, ids[i%len(ids)], 29_000_000, uint32(1+i/len(ids)), 0)
	}
	return knocks
}

// fdatasyncs returns, sorted, the times that the disk takes to sync a page.
func fdatasyncs(b *testing.B, dir string) []time.Duration {
	f, err := os.Create(filepath.Join(dir, "page"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	times := make([]time.Duration, 300)
	page := make([]byte, 4096)
	for i := range times {
		start := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times
}
