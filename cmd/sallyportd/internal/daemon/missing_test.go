package daemon

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"pgregory.net/rapid"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// TestMissingClients over any changes of a file: a missing client is cut off when
// the file has been unchanged for the time, or after ten times as long, and never
// before; a client that is back before is not.
func TestMissingClients(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const settle = 5 * time.Second
		now := time.Unix(1_800_000_000, 0)
		var m missing
		unchanged := now
		since := map[wire.Identifier]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pass")) * time.Millisecond)
			id := wire.Identifier{'c', 'o', 'm', byte('0' + rapid.IntRange(0, 3).Draw(t, "client"))}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // the file changes, and lacks a client
				unchanged = now
				m.add(id, verify.Secrets{}, time.Time{}, now)
				if _, ok := since[id]; !ok {
					since[id] = now
				}
			case 1: // it has the client again
				unchanged = now
				m.back(map[wire.Identifier]bool{id: true})
				delete(since, id)
			case 2: // the administrator confirms it
				if _, was := since[id]; m.drop(id) != was {
					t.Fatalf("%s was missing: %v", id, !was)
				}
				delete(since, id)
			default:
				stands := unchanged
				if rapid.Bool().Draw(t, "refused") {
					stands = time.Time{} // the file is not the one in force
				}
				want := map[wire.Identifier]bool{}
				for id, s := range since {
					if !stands.IsZero() && now.Sub(stands) >= settle || now.Sub(s) >= 10*settle {
						want[id] = true
						delete(since, id)
					}
				}
				if got := m.due(now, stands, settle); !maps.Equal(got, want) {
					t.Fatalf("cut off %v, want %v", got, want)
				}
			}
			for id := range since {
				if !m.has(id) {
					t.Fatalf("%s is forgotten", id)
				}
			}
			if len(m.of) != len(since) {
				t.Fatalf("%v are missing, want %v", m.of, since)
			}
		}
	})
}

// TestWatchFile: it checks at each event, and after the time that the last check
// returned.
func TestWatchFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events, lost := make(chan fsnotify.Event), make(chan error)
		start := time.Now()
		var looks []time.Duration
		s := &Server{env: Env{Log: slog.New(slog.DiscardHandler)}}
		done := make(chan error, 1)
		go func() {
			done <- s.watchFile(ctx, events, lost, func() time.Duration {
				looks = append(looks, time.Since(start))
				return time.Duration(len(looks)) * time.Second
			})
		}()
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond)
		events <- fsnotify.Event{}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, time.Second, 1500 * time.Millisecond, 4500 * time.Millisecond}
		if !slices.Equal(looks, want) {
			t.Errorf("looked at %v, want %v", looks, want)
		}
	})
}
