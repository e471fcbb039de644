package program

import (
	"time"

	"sallyport/sessions/state"
)

// Record is the file of the closing commands that must still run. One call is made
// at a time.
type Record interface {
	// Read returns the recorded commands. With an error, it returns those that are
	// readable all the same.
	Read() ([]state.Closing, error)
	// Write replaces all of them. When it returns nil, they are on stable storage.
	Write([]state.Closing) error
}

const (
	// removePause is how long a closing command that has succeeded may stay in the
	// record, so that many of them cost one write. After a crash it runs again.
	removePause = 100 * time.Millisecond
	// recordRetry is the pause after a failed write.
	recordRetry = time.Second
)

// keepRecord writes the record until a channel is closed, and then once more. All
// leases that begin during a write share the next one.
func (c *Commands) keepRecord(done <-chan struct{}) {
	var later <-chan time.Time
	for {
		select {
		case <-c.added:
		case <-c.removed:
			if later == nil {
				later = time.After(removePause)
			}
			continue
		case <-later:
		case <-done:
			c.flush()
			return
		}
		later = nil
		if c.flush() != nil {
			later = time.After(recordRetry)
		}
	}
}

// flush writes the record, if it may differ from the queue. If that fails, the leases
// that wait for it do not open; the file may have them, so that their closing commands
// may run after a crash.
func (c *Commands) flush() error {
	c.mu.Lock()
	if !c.dirty {
		c.mu.Unlock()
		return nil
	}
	c.dirty = false
	var list []state.Closing
	var waiting []*job
	for _, j := range c.queue.jobs {
		if j.service.Close {
			list = append(list, j.lease)
		}
		if j.step == toRecord {
			waiting = append(waiting, j)
		}
	}
	c.mu.Unlock()
	err := c.cfg.Record.Write(list)
	for _, j := range c.saved(waiting, err) {
		j.done(recordError(err))
	}
	signal(c.wake)
	return err
}

// saved handles the result of a write, and returns the jobs that have failed.
func (c *Commands) saved(waiting []*job, err error) (failed []*job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && !c.unsaved:
		c.cfg.Log.Error("failed to record closing commands; such leases do not open", "error", err)
	case err == nil && c.unsaved:
		c.cfg.Log.Info("closing commands recorded again")
	}
	c.unsaved = err != nil
	c.dirty = c.dirty || err != nil
	for _, j := range waiting {
		switch {
		case j.step != toRecord: // the lease has ended meanwhile
		case err == nil:
			c.queue.move(j, toOpen)
		default:
			j.over = true
			c.queue.move(j, finished)
			failed = append(failed, j)
		}
	}
	return failed
}
