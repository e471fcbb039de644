package daemon

import (
	"os"
	"sync/atomic"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/clock"
)

// keeperSamples is after how many samples the server looks for time services again: that
// reads a file of each process of the host.
const keeperSamples = 6

// observedClock is what is known of the wall clock. It may be used concurrently.
type observedClock struct {
	steps   atomic.Uint64
	last    atomic.Int64 // the last step, in nanoseconds
	keepers atomic.Pointer[[]string]
}

func (c *observedClock) stepped(by time.Duration) {
	c.last.Store(int64(by))
	c.steps.Add(1)
}

func (c *observedClock) findKeepers() {
	found := clock.Keepers(os.DirFS("/proc"))
	c.keepers.Store(&found)
}

func (c *observedClock) state() admin.Clock {
	var keepers []string
	if found := c.keepers.Load(); found != nil {
		keepers = *found
	}
	state := ClockState(clock.Synchronisation(), keepers)
	state.Steps, state.LastStep = c.steps.Load(), time.Duration(c.last.Load()).Seconds()
	return state
}

// ClockState returns whether a clock is synchronised, and by which programs (clock.Keepers).
func ClockState(sync clock.Sync, keepers []string) admin.Clock {
	c := admin.Clock{Programs: keepers}
	if sync.Known {
		c.Synchronised, c.By = &sync.Synchronised, sync.By
		if sync.Synchronised {
			c.MaxError = sync.MaxError.Seconds()
		}
	}
	return c
}
