package program

import (
	"slices"
	"time"

	"sallyport/sessions/gate"
)

const (
	// drainTime is how long closing commands run after the gate has closed. The next
	// start runs those that are left.
	drainTime = 15 * time.Second
	// endTime is how long commands that were stopped may take to end.
	endTime = 10 * time.Second
)

// stopAll ends the commands that run and for which which returns true. The caller
// holds the lock.
func (c *Commands) stopAll(which func(*job) bool) {
	for _, j := range c.queue.running {
		if which(j) && !isClosed(j.stop) {
			close(j.stop)
		}
	}
}

// drain runs the closing commands that are left, for a bounded time.
func (c *Commands) drain() {
	c.mu.Lock()
	c.draining = true
	for _, j := range slices.Clone(c.queue.jobs) {
		c.end(j, gate.Stopped.Code())
	}
	// Leases no longer open: a stopped command has failed.
	c.stopAll(func(j *job) bool { return j.step == opening })
	c.mu.Unlock()
	c.dispatch(after(drainTime), c.drained)
	c.mu.Lock()
	c.stopped = true
	c.stopAll(func(*job) bool { return true })
	left := len(c.queue.jobs)
	c.mu.Unlock()
	c.dispatch(after(endTime), func() bool { return c.running() == 0 })
	if left > 0 {
		c.cfg.Log.Warn("closing commands left for the next start", "count", left)
	}
}

// after returns a channel that is closed after a time.
func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

// drained reports whether each closing command has succeeded, or failed.
func (c *Commands) drained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(c.queue.jobs, func(j *job) bool { return j.step != toClose || j.attempts == 0 })
}

func (c *Commands) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue.running)
}
