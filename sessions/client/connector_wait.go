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
func (c *connector) wait(ctx context.Context) sighting { return c.waitAny(ctx).sighting }

// waitAny runs a connector until the service of a lane answers, or all lanes are over. It
// returns that lane, or else the one that shows most.
func (c *connector) waitAny(ctx context.Context) *lane {
	defer c.close()
	for {
		next, running := c.step(time.Now())
		if !running {
			return c.mostShown()
		}
		timer := newTimer(next)
		select {
		case <-ctx.Done():
			for _, l := range c.lanes {
				l.shorten(time.Now())
				l.held = false
			}
		case <-timer.C:
		case a := <-c.answers:
			if l := c.take(a, time.Now()); l != nil {
				timer.Stop()
				return l
			}
		}
		timer.Stop()
	}
}

// mostShown returns the lane whose error is not the silence of a service.
func (c *connector) mostShown() *lane {
	for _, l := range c.lanes {
		if !timedOut(l.err) {
			return l
		}
	}
	return c.lanes[0]
}
