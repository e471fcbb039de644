// Package clocktest is the clock of a host whose time tests move.
package clocktest

import (
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
}

// NewHost returns a host whose clocks all show the test's time.
func NewHost() *Host { return &Host{start: time.Now()} }

// Step sets the wall clock forward, or back, by d.
func (h *Host) Step(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.step += d
}

// Suspend has the host sleep for d: timers and the monotonic clock stand still
// meanwhile, the others do not.
func (h *Host) Suspend(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.suspended += d
}

// Clock returns the host's clocks.
func (h *Host) Clock() clock.Clock {
	run := func() time.Time { return h.start.Round(0).Add(time.Since(h.start)) }
	return clock.Clock{
		Wall: func() time.Time {
			h.mu.Lock()
			defer h.mu.Unlock()
			return run().Add(h.step + h.suspended)
		},
		Monotonic: run,
		Boot: func() time.Time {
			h.mu.Lock()
			defer h.mu.Unlock()
			return run().Add(h.suspended)
		},
	}
}
