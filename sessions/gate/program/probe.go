package program

import (
	"context"
	"fmt"
	"time"
)

const (
	// firstProbe is the pause after the first failed probe of a program that starts;
	// it doubles up to lastProbe.
	firstProbe = 20 * time.Millisecond
	lastProbe  = 500 * time.Millisecond
	// checkPause is the time between two probes of a program that accepts.
	checkPause = 10 * time.Second
	// checkTime is the longest time of such a probe.
	checkTime = 5 * time.Second
)

// probe calls Accepts in a goroutine until the run ends, and reports the changes.
func (b *Backend) probe() {
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error)
	b.probes, b.unprobe = results, cancel
	go func() {
		accepts, pause := false, firstProbe
		for {
			probing, done := context.WithTimeout(ctx, checkTime)
			err := b.cfg.Accepts(probing)
			done()
			if ctx.Err() == nil {
				b.found(err)
			}
			if (err == nil) != accepts {
				accepts, pause = err == nil, firstProbe
				select {
				case results <- err:
				case <-ctx.Done():
					return
				}
			}
			if accepts {
				pause = checkPause
			}
			select {
			case <-time.After(pause):
				pause = min(2*pause, lastProbe)
			case <-ctx.Done():
				return
			}
		}
	}()
}

// found keeps what a probe has found out.
func (b *Backend) found(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = err
}

// tooSlow returns errTooSlow, with what is at the program's port instead: another user
// may have it.
func (b *Backend) tooSlow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		return errTooSlow
	}
	return fmt.Errorf("%w: %w", errTooSlow, b.refused)
}

// probed handles a change of what the probe finds.
func (b *Backend) probed(err error) {
	service := b.cfg.Program.Service
	switch {
	case b.run == nil || b.life.phase == stopping:
	case err == nil && isClosed(b.run.Done()):
		// Something else accepts: the run's end is about to be handled.
	case err == nil:
		b.life.accepts()
		b.cfg.Log.Info("program accepts connections", "service", service)
		b.report(nil)
	default:
		b.report(fmt.Errorf("%w: %w", errAccepting, err))
		b.cfg.Log.Error("program no longer accepts connections; service closed", "service", service, "error", err)
	}
}
