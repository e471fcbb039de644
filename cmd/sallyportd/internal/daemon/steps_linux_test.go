package daemon

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/clock/clocktest"
)

// TestStepsAreCounted: each step counts, also those that cancel out, and a line has its
// size. Many steps have few lines, and the next line how many have none.
func TestStepsAreCounted(t *testing.T) {
	host := clocktest.NewHost()
	var text logText
	s := &Server{env: Env{Clock: host.Clock(), Log: slog.New(slog.NewTextHandler(&text, nil))}}
	w := s.watchSteps()
	check := func() string {
		text.take()
		w.check(s)
		return text.take()
	}
	if got := check(); got != "" {
		t.Errorf("no step: %q", got)
	}
	host.Step(time.Second)
	host.Suspend(time.Hour)
	if got := check(); got != "" || s.observed.clock.state().Steps != 0 {
		t.Errorf("a slight correction, and a suspension: %q", got)
	}
	for i, step := range []time.Duration{time.Hour, -time.Hour, -2 * time.Second, 3 * time.Second} {
		host.Step(step)
		got := check()
		if step == -2*time.Second {
			continue // at the limit
		}
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "msg=\"wall clock stepped\" step="+step.String()[:2]) {
			t.Errorf("%d, by %s: %q", i, step, got)
		}
		if state := s.observed.clock.state(); (seconds(state.LastStep) - step).Abs() > time.Second {
			t.Errorf("%d, by %s: the last is %gs", i, step, state.LastStep)
		}
	}
	before, lines := s.observed.clock.state().Steps, 0
	for i := range 100 {
		host.Step(time.Duration(1-2*(i%2)) * time.Minute)
		lines += strings.Count(check(), "\n")
	}
	if n := s.observed.clock.state().Steps - before; n != 100 || lines > stepLines.Burst {
		t.Errorf("100 steps: %d counted, %d lines", n, lines)
	}
	host.Pass(time.Minute)
	host.Step(time.Hour)
	if got := check(); !strings.Contains(got, "left_out=") {
		t.Errorf("after them: %q", got)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
