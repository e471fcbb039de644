package program

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

var errLimit = errors.New("stopped, because it ran for longer than its limit")

// idle is the pause of dispatch while no command waits for a time.
const idle = time.Hour

// dispatch starts commands when they are due, until a channel is closed, or over
// returns true.
func (c *Commands) dispatch(done <-chan struct{}, over func() bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		pause := c.startDue()
		if over() {
			return
		}
		timer.Reset(pause)
		select {
		case <-done:
			return
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// startDue starts the commands that are due, and returns the time until the next is.
func (c *Commands) startDue() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Clock.Monotonic()
	for !c.stopped {
		j := c.queue.next(now, c.draining)
		switch {
		case j == nil:
			if at := c.queue.nextDue(now); !at.IsZero() {
				return at.Sub(now)
			}
			return idle
		case j.step == toClose:
			c.queue.move(j, closing)
			c.execute(j, OnClose, Environment(eventClose, j.reason, j.lease))
		case j.service.Open:
			c.queue.move(j, opening)
			c.execute(j, OnOpen, Environment(eventOpen, j.opensBy(), j.lease))
		default:
			c.queue.opened(j, nil, now)
			go j.done(nil)
		}
	}
	return idle
}

// opensBy returns the reason for the opening command.
func (j *job) opensBy() string {
	switch {
	case j.resumed:
		return reasonResumed
	case j.lease.Operation != "":
		return reasonOperation
	}
	return reasonKnock
}

// execute runs a command of a job in a goroutine.
func (c *Commands) execute(j *job, role Role, env []string) {
	request, stop := Request{Program: ID{j.lease.Service, role}, Env: env}, j.stop
	go func() {
		run, err := c.cfg.Starter.Start(request)
		begun := err == nil
		if begun {
			err = await(run, j.service.Limit, stop)
		}
		if role == OnOpen {
			c.opened(j, begun, err)
		} else {
			c.closed(j, err)
		}
		signal(c.wake)
	}()
}

// await waits for the end of a run. A run that it stops has failed, whatever its exit
// code is.
func await(run Run, limited time.Duration, stop <-chan struct{}) (why error) {
	limit := time.NewTimer(limited)
	defer limit.Stop()
	select {
	case <-run.Done():
		return run.Err()
	case <-limit.C:
		why = errLimit
	case <-stop:
		why = errStopped
	}
	run.Stop()
	<-run.Done()
	return why
}

// opened handles the end of an opening command. If it has not begun, no closing
// command follows.
func (c *Commands) opened(j *job, begun bool, err error) {
	c.mu.Lock()
	over := j.over
	if begun {
		c.queue.opened(j, err, c.cfg.Clock.Monotonic())
	} else {
		j.over = true
		c.queue.move(j, finished)
	}
	c.tidy(j)
	c.mu.Unlock()
	if !over {
		j.done(err)
	}
}

// closed handles the end of a closing command.
func (c *Commands) closed(j *job, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.closed(j, err, c.cfg.Clock.Monotonic())
	c.tidy(j)
	c.logClosed(j, err)
}

// logClosed logs the first failure of a service's closing commands, each other kind of
// failure, and the end of all. The caller holds the lock.
func (c *Commands) logClosed(j *job, err error) {
	service := j.lease.Service
	if err != nil {
		if text := err.Error(); c.failing[service] != text {
			c.failing[service] = text
			leaseLog(c.cfg.Log, j.lease).Error("closing command failed; retrying", "error", err)
		}
		return
	}
	if _, was := c.failing[service]; !was {
		return
	}
	for _, other := range c.queue.jobs {
		if other.lease.Service == service && other.attempts > 0 {
			return
		}
	}
	delete(c.failing, service)
	c.cfg.Log.Info("closing commands have succeeded", "service", service)
}

// leaseLog returns a log for the lines of a lease: with its operation, if it belongs to no
// client.
func leaseLog(log *slog.Logger, l state.Closing) *slog.Logger {
	log = log.With("service", l.Service)
	if l.Client == (wire.Identifier{}) {
		return log.With("operation", l.Operation, "address", l.Address)
	}
	return log.With("client", l.Client, "address", l.Address)
}

// recordError is the error of a lease whose closing command cannot be recorded.
func recordError(err error) error { return fmt.Errorf("record the closing command: %w", err) }
