// Package clocktest provides the clocks of a host whose time a test controls.
package clocktest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/clock"
)

// Host is the time of a host. It runs with the time of the test: in a bubble of
// testing/synctest, with the bubble's time. Its methods may be called
// concurrently.
type Host struct {
	start time.Time

	mu              sync.Mutex
	step, suspended time.Duration
	passed          time.Duration
	jumped          map[*func()]bool // the functions that Clock.OnJump calls
}

// NewHost returns a host. Its clocks all show the time of the test.
func NewHost() *Host { return &Host{start: time.Now(), jumped: map[*func()]bool{}} }

// Step sets the wall clock forward, or back, by d.
func (h *Host) Step(d time.Duration) { h.jump(func() { h.step += d }) }

// Suspend suspends the host for d: the monotonic clock stops meanwhile, the others
// do not. The call returns at once.
func (h *Host) Suspend(d time.Duration) { h.jump(func() { h.suspended += d }) }

// Pass moves all clocks of the host forward by d.
func (h *Host) Pass(d time.Duration) { h.jump(func() { h.passed += d }) }

// jump moves the clocks, and calls the functions of OnJump.
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
