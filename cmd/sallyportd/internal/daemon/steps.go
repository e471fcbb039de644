package daemon

import (
	"context"
	"time"

	"sallyport/sessions"
)

// minStep is the smallest step of the wall clock, between two checks, that counts: a time
// service that corrects a good clock moves it less.
const minStep = 2 * time.Second

// stepLines limits the lines about steps: a time service that fights with another one can
// set the clock many times a second.
var stepLines = sessions.Limit{Pause: time.Minute, Burst: 5}

// stepWatch finds steps of the wall clock. Whether the host was suspended does not matter:
// the boot-time clock continues meanwhile.
type stepWatch struct {
	offset  time.Duration // of the wall clock from the boot-time clock
	lines   sessions.Bucket
	leftOut int // steps without a line
}

func (s *Server) watchSteps() *stepWatch { return &stepWatch{offset: s.wallOffset()} }

// run checks each second, and when the kernel reports that a clock has jumped, until ctx
// ends. It waits for no other part of the server.
func (w *stepWatch) run(ctx context.Context, s *Server) {
	woken := s.jumps(ctx)
	tick := time.NewTicker(gapInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-tick.C:
		}
		w.check(s)
	}
}

// check counts a step since the last check, and logs it.
func (w *stepWatch) check(s *Server) {
	offset := s.wallOffset()
	step := offset - w.offset
	w.offset = offset // also after less: a time service moves the clock a little at a time
	if step.Abs() <= minStep {
		return
	}
	s.observed.clock.stepped(step)
	if !w.lines.Take(s.env.Clock.Boot(), stepLines) {
		w.leftOut++
		return
	}
	attrs := []any{"step", step.Round(time.Millisecond), "now", s.env.Clock.Wall().UTC().Format(time.RFC3339)}
	if w.leftOut > 0 {
		attrs = append(attrs, "left_out", w.leftOut)
	}
	w.leftOut = 0
	s.env.Log.Warn("wall clock stepped", attrs...)
}

// wallOffset is how far the wall clock is from the clock that is never set.
func (s *Server) wallOffset() time.Duration {
	boot := s.env.Clock.Boot()
	return s.env.Clock.Wall().Sub(boot)
}
