package daemon

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
	"sallyport/verify"
)

// fakeFleet counts the uses of one operation.
type fakeFleet struct {
	used uint32
	err  error
}

func (f *fakeFleet) TakeUses(_ string, _ verify.Fingerprint, _, limit, wanted uint32) (taken, used uint32, err error) {
	taken = min(wanted, limit-min(f.used, limit))
	f.used += taken
	return taken, f.used, f.err
}

func (f *fakeFleet) ResetUses(string, verify.Fingerprint) error {
	f.used = 0
	return f.err
}

// TestUsesOfAFleet: two servers give as many uses as there are; without etcd they give
// none; after a gap a server gives none until the operation is reset there, also after a
// restart.
func TestUsesOfAFleet(t *testing.T) {
	shared := new(fakeFleet)
	key := state.UseKey{Operation: "ssh-alice", Secret: 7}
	load := func(dir string) *uses {
		t.Helper()
		u, err := loadUses(dir, []state.UseKey{key}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		u.fleet = shared
		return u
	}
	dir := t.TempDir()
	a, b := load(dir), load(t.TempDir())
	for _, u := range []*uses{a, b} {
		if err := u.reset(key); err != nil {
			t.Fatal(err)
		}
	}
	give := func(u *uses, n int) (given int, last error) {
		for _, err := range u.take(slices.Repeat([]command{{limit: limit{key, 3}}}, n)) {
			if err == nil {
				given++
			} else {
				last = err
			}
		}
		return given, last
	}
	if n, _ := give(a, 2); n != 2 {
		t.Errorf("%d given, want 2", n)
	}
	if n, err := give(b, 2); n != 1 || !errors.Is(err, errNoUses) {
		t.Errorf("%d given, %v, want the last one of 3", n, err)
	}
	if err := a.reset(key); err != nil {
		t.Error(err)
	}
	shared.err = errors.New("etcd is unavailable")
	if n, err := give(a, 1); n != 0 || !errors.Is(err, shared.err) {
		t.Errorf("without etcd: %d given, %v", n, err)
	}
	shared.err, shared.used = nil, 0
	a.lose(func(err error) { t.Error(err) })
	for a.uncertain.Load() {
		if n, _ := give(a, 1); n != 0 {
			t.Error("a use was given after a gap")
		}
		time.Sleep(time.Millisecond)
	}
	for _, u := range []*uses{a, load(dir)} {
		if n, err := give(u, 1); n != 0 || err == nil || !u.use(key).Unknown {
			t.Errorf("after a gap: %d given, %v", n, err)
		}
	}
	if err := a.reset(key); err != nil {
		t.Error(err)
	}
	if n, _ := give(a, 1); n != 1 {
		t.Error("after a reset: none given")
	}
}

// waitingFleet answers a reset when the test lets it.
type waitingFleet struct {
	fakeFleet
	asked, answer chan struct{}
}

func (f *waitingFleet) ResetUses(string, verify.Fingerprint) error {
	close(f.asked)
	<-f.answer
	return nil
}

// TestResetDoesNotStopReloads: while etcd is asked to reset a count, reloads, and with them
// revocations, go on.
func TestResetDoesNotStopReloads(t *testing.T) {
	t.Parallel()
	u, err := loadUses(t.TempDir(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	slow := &waitingFleet{asked: make(chan struct{}), answer: make(chan struct{})}
	u.fleet = slow
	s := &Server{uses: u, env: Env{Log: slog.New(slog.DiscardHandler)}}
	s.reloads.current = &config.Config{Operations: []config.Operation{{ID: "ssh-alice", Uses: 3, Secret: "secret of alice"}}}
	done := make(chan error)
	go func() {
		now, err := s.resetUses(admin.ResetUses{Operation: "ssh-alice"})
		if err == nil && now.Left != 3 {
			err = errors.New("not three uses")
		}
		done <- err
	}()
	<-slow.asked
	if !s.reloads.mu.TryLock() {
		t.Error("a reload waits for etcd")
	} else {
		s.reloads.mu.Unlock()
	}
	close(slow.answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
