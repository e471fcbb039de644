// Package clocktest is the clock of a host whose time tests move.
package clocktest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/clock"
)

// Host is a host's time. It runs as the time of the test does: in a bubble of
// testing/synctest, as the bubble's. Its methods may be called concurrently.
type Host struct {
	start time.Time

	mu              sync.Mutex
	step, suspended time.Duration
	passed          time.Duration
	jumped          map[*func()]bool // what Clock.OnJump calls
}

// NewHost returns a host whose clocks all show the test's time.
func NewHost() *Host { return &Host{start: time.Now(), jumped: map[*func()]bool{}} }

// Step sets the wall clock forward, or back, by d.
func (h *Host) Step(d time.Duration) { h.jump(func() { h.step += d }) }

// Suspend has the host sleep for d: timers and the monotonic clock stand still
// meanwhile, the others do not.
func (h *Host) Suspend(d time.Duration) { h.jump(func() { h.suspended += d }) }

// Pass has the time of the host run ahead by d.
func (h *Host) Pass(d time.Duration) { h.jump(func() { h.passed += d }) }

// jump moves the clocks, and tells those who wait for it.
func (h *Host) jump(move func()) {
	h.mu.Lock()
	move()
	all := slices.Collect(maps.Keys(h.jumped))
	h.mu.Unlock()
	for _, f := range all {
		(*f)()
	}
}

func (h *Host) onJump(ctx context.Context, f func()) {
	h.mu.Lock()
	h.jumped[&f] = true
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.jumped, &f)
}

// Clock returns the host's clocks.
func (h *Host) Clock() clock.Clock {
	run := func(more func() time.Duration) func() time.Time {
		return func() time.Time {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.start.Round(0).Add(time.Since(h.start) + h.passed + more())
		}
	}
	return clock.Clock{
		Wall:      run(func() time.Duration { return h.step + h.suspended }),
		Monotonic: run(func() time.Duration { return 0 }),
		Boot:      run(func() time.Duration { return h.suspended }),
		OnJump:    h.onJump,
	}
}
