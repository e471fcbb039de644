package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/bench/report"
	"sallyport/bench/scenario"
)

// row summarises all windows of a step.
func (b *results) row(s step) report.Row {
	r := report.Row{
		Scenario: s.kind, Title: "honest knocks without a flood", Target: s.target, Load: string(s.load),
		Unfiltered: configuration(s.target) == report.Socket, Configuration: configuration(s.target), Sums: true, Counters: map[string]uint64{},
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
	latency, answered := hdrhistogram.New(1, time.Minute.Microseconds(), 3), hdrhistogram.New(1, askTime.Microseconds(), 3)
	for _, w := range windows {
		r.Resident = max(r.Resident, w.resident)
		r.Sums = r.Sums && w.difference == ""
		r.Honest += w.honest
		for name, n := range w.counters {
			r.Counters[name] += n
		}
		r.Counters["closed_port"] += w.host.closed
		r.Counters["no_room_in_a_socket"] += w.host.full
		if w.answers.took != nil {
			answered.Merge(w.answers.took)
		}
		if w.latency != nil {
			latency.Merge(w.latency)
		}
	}
	if n := answered.TotalCount(); n > 0 {
		r.Asked, r.Answers = int(n), quantilesOf(answered)
	}
	if s.honest {
		timely := spread(func(w window) float64 { _, t := s.survival(w); return t })
		atAll := spread(func(w window) float64 { a, _ := s.survival(w); return a })
		r.InTime, r.Survival = &timely, &atAll
		if k, _ := scenario.ByName(s.kind); k.Alone {
			return r // its attempts share addresses, by which grants are matched
		}
		r.Latency = quantilesOf(latency)
	}
	return r
}

func quantilesOf(h *hdrhistogram.Histogram) *report.Quantiles {
	return &report.Quantiles{P50: ms(h.ValueAtQuantile(50)), P99: ms(h.ValueAtQuantile(99)), Max: ms(h.Max())}
}
