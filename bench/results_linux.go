package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

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
		w.counters["overrun"] > 0 || w.counters["session_queue_full"] > 0
}

func (w window) rate(n uint64) float64 { return float64(n) / w.seconds }

// cost returns the processor time for a packet: of the server and of the thread
// that receives.
func (w window) cost() float64 { return float64(w.server+w.receive) / float64(w.host.arrived) }

func knocks(s step) int {
	if s.target == three || s.target == threeOpen {
		return 3
	}
	return 1
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

func received(above, below window) float64 {
	return above.rate(above.received) / below.rate(below.received)
}

func arrived(above, below window) float64 {
	return above.rate(above.host.arrived) / below.rate(below.host.arrived)
}

// survivalToPossible returns the survival of honest knocks, in time, relative to
// the share of packets that a host of that capacity can receive.
func survivalToPossible(w, capacity window) float64 {
	_, timely := w.survival(1)
	return timely / min(1, capacity.rate(capacity.host.arrived)/w.rate(w.host.offered))
}

// result makes the report.
func (b *results) result(cfg Config, targets map[string]*tested) report.Result {
	n := 0
	for _, e := range b.entries {
		n = max(n, e.run+1)
	}
	quantile := func(s step, q float64) report.Spread {
		return b.ratio(n, s, s, func(w, _ window) float64 { return ms(w.latency.ValueAtQuantile(q)) })
	}
	res := report.Result{
		Version: report.Version, Time: time.Now().UTC().Truncate(time.Second), Command: cfg.Command,
		Conditions: report.Conditions{
			Rounds: cfg.Rounds, WindowSeconds: cfg.Window.Seconds(), Quick: cfg.Quick,
			Windows: b.windows, ThrownAway: b.discarded,
		},
		Ratios: map[string]report.Spread{
			"read_vs_sink":           b.ratio(n, readJunk, sinkJunk, received),
			"badmac_vs_sink":         b.ratio(n, wholeMAC, sinkMAC, received),
			"filter_vs_reject_all":   b.ratio(n, filterUnknown, refuseAll, arrived),
			"survival_badmagic":      b.ratio(n, magic, capacity, survivalToPossible),
			"survival_badmagic_half": b.ratio(n, magicHalf, capacity, survivalToPossible),
			"filter_gain": b.ratio(n, magic, magicOpen, func(on, off window) float64 {
				_, with := on.survival(1)
				_, without := off.survival(1)
				return with / without
			}),
			"million_vs_hundred": b.ratio(n, millionMAC, wholeMAC, func(million, hundred window) float64 {
				return million.cost() / hundred.cost()
			}),
		},
		LatencyMS: map[string]report.Spread{"idle_p50": quantile(idleRelaxed, 50), "half_p99": quantile(magicHalf, 99)},
		Failures:  b.failures(),
	}
	seen := map[step]bool{}
	for _, e := range b.entries {
		if !seen[e.step] {
			seen[e.step] = true
			res.Rows = append(res.Rows, b.row(e.step))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		res.Memory = append(res.Memory, targets[name].memory)
	}
	return res
}

func ms(µs int64) float64 { return float64(µs) / 1000 }

// row summarises all windows of a step.
func (b *results) row(s step) report.Row {
	r := report.Row{
		Scenario: s.kind, Title: "honest knocks without a flood", Target: s.target, Load: string(s.load),
		Unfiltered: s.target == unfiltered || s.target == threeOpen, Sums: true, Counters: map[string]uint64{},
	}
	if k, ok := scenario.ByName(s.kind); ok {
		r.Title = k.Title
	}
	var windows []window
	for _, e := range b.entries {
		if e.step == s {
			windows = append(windows, e.window)
		}
	}
	r.Kept = len(windows)
	spread := func(f func(window) float64) report.Spread {
		runs := make([]float64, len(windows))
		for i, w := range windows {
			runs[i] = f(w)
		}
		return report.SpreadOf(runs)
	}
	r.Offered = spread(func(w window) float64 { return w.rate(w.host.offered) })
	r.Arrived = spread(func(w window) float64 { return w.rate(w.host.arrived) })
	r.Received = spread(func(w window) float64 { return w.rate(w.received) })
	r.ServerNS = spread(func(w window) float64 { return float64(w.server) / float64(w.host.arrived) })
	r.ReceiveNS = spread(func(w window) float64 { return float64(w.receive) / float64(w.host.arrived) })
	r.LogLines = spread(func(w window) float64 { return w.rate(w.logLines) })
	latency := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	for _, w := range windows {
		r.Resident = max(r.Resident, w.resident)
		r.Sums = r.Sums && w.difference == ""
		r.Honest += w.honest
		for name, n := range w.counters {
			r.Counters[name] += n
		}
		r.Counters["closed_port"] += w.host.closed
		r.Counters["no_room_in_a_socket"] += w.host.full
		if w.latency != nil {
			latency.Merge(w.latency)
		}
	}
	if s.honest {
		timely := spread(func(w window) float64 { _, t := w.survival(knocks(s)); return t })
		atAll := spread(func(w window) float64 { a, _ := w.survival(knocks(s)); return a })
		r.InTime, r.Survival = &timely, &atAll
		r.Latency = &report.Quantiles{
			P50: ms(latency.ValueAtQuantile(50)), P99: ms(latency.ValueAtQuantile(99)), Max: ms(latency.Max()),
		}
	}
	return r
}

// failures returns the errors that no load excuses.
func (b *results) failures() []string {
	failures := []string{}
	gentle, over := 0, 0
	for _, e := range b.entries {
		if e.difference != "" {
			failures = append(failures, fmt.Sprintf("%s: the counters do not add up: %s", e.step, e.difference))
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
		if atAll, _ := e.survival(knocks(e.step)); atAll < 1 && !overloaded {
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
