package client

import (
	"context"
	"time"
)

// newTimer returns a timer for a time; for the zero time, one that does not matter.
func newTimer(at time.Time) *time.Timer {
	if at.IsZero() {
		at = time.Now().Add(time.Hour)
	}
	return time.NewTimer(time.Until(at))
}

// wait runs a connector with one lane until its service answers, or the lane is over.
func (c *connector) wait(ctx context.Context) sighting {
	defer c.close()
	only := c.lanes[0]
	for {
		next, running := c.step(time.Now())
		if !running {
			return only.sighting
		}
		timer := newTimer(next)
		select {
		case <-ctx.Done():
			only.shorten(time.Now())
			only.held = false
		case <-timer.C:
		case a := <-c.answers:
			c.take(a, time.Now())
		}
		timer.Stop()
	}
}
