package bench

import (
	"fmt"
	"math"

	"sallyport/bench/report"
	"sallyport/bench/scenario"
)

// results are the windows of a run.
type results struct {
	entries   []entry
	windows   int // measured
	discarded int // of the measured ones
}

type entry struct {
	run  int // windows of the same run are measured at about the same time
	step step
	window
}

// add adds a window, unless it must be discarded, and reports whether it was.
func (b *results) add(run int, s step, w window) (discarded bool) {
	b.windows++
	if w.steal > report.MaxSteal {
		b.discarded++
		return true
	}
	b.entries = append(b.entries, entry{run, s, w})
	return false
}

func (b *results) find(run int, s step) (window, bool) {
	for _, e := range b.entries {
		if e.run == run && e.step == s {
			return e.window, true
		}
	}
	return window{}, false
}

// overloaded reports whether any queue was full.
func (w window) overloaded() bool {
	return w.host.offered > w.host.arrived || w.host.full > 0 ||
		w.counters["overrun"] > 0 || w.counters["session_queue_full"] > 0 ||
		w.counters["shield_share"] > 0 || w.counters["shield_full"] > 0
}

func (w window) rate(n uint64) float64 { return float64(n) / w.seconds }

// cost returns the processor time in nanoseconds for a packet: of the server and of the
// thread that receives.
func (w window) cost() float64 { return float64(w.server+w.receive) / float64(w.host.arrived) }

// costReceived is the same for a packet that the program received: those that were lost
// before it are paid for as well.
func (w window) costReceived() float64 { return float64(w.server+w.receive) / float64(w.received) }

// survival returns the survival in a window of the step.
func (s step) survival(w window) (atAll, timely float64) {
	knocks := 1
	if s.target == three || s.target == threeOpen {
		knocks = 3
	}
	atAll, timely = w.survival(knocks)
	if k, ok := scenario.ByName(s.kind); ok && k.Alone {
		atAll = own(w, w)
		timely = atAll
	}
	return atAll, timely
}

// ratio compares two windows of each run, if neither was discarded.
func (b *results) ratio(
	total int, above, below step, figure func(above, below window) float64,
) report.Spread {
	runs := make([]float64, total)
	for i := range runs {
		a, ok1 := b.find(i, above)
		z, ok2 := b.find(i, below)
		runs[i] = math.NaN()
		if ok1 && ok2 {
			runs[i] = figure(a, z)
		}
	}
	return report.SpreadOf(runs)
}

// ms returns milliseconds.
func ms(µs int64) float64 { return float64(µs) / 1000 }

// failures returns the errors that no load excuses.
func (b *results) failures() []string {
	failures := []string{}
	gentle, over := 0, 0
	for _, e := range b.entries {
		if e.difference != "" {
			failures = append(failures, fmt.Sprintf("%s: the counters do not add up: %s", e.step, e.difference))
		}
		if e.answers.err != nil {
			failures = append(failures, fmt.Sprintf("%s: a request to the admin socket got no answer: %v", e.step, e.answers.err))
		}
		if !e.step.honest {
			continue
		}
		overloaded := e.overloaded()
		if e.step.load == light || e.step.load == idle {
			gentle++
			if overloaded {
				over++
			}
		}
		if e.honest == 0 {
			failures = append(failures, fmt.Sprintf("%s: no honest knock was sent", e.step))
			continue
		}
		if atAll, _ := e.step.survival(e.window); atAll < 1 && !overloaded {
			failures = append(failures, fmt.Sprintf(
				"%s: of %d honest knocks only %.1f %% had an effect, although nothing was overloaded",
				e.step, e.honest, 100*atAll))
		}
	}
	if over*2 > gentle {
		failures = append(failures, fmt.Sprintf("%d of %d windows with a light load were overloaded", over, gentle))
	}
	return failures
}
