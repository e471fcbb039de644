package report

import (
	"fmt"
	"math"
	"slices"

	"sallyport/bench/report/chart"
)

// addMark adds the mark of result i of n to a row, with its text.
func addMark(row *chart.Row, m chart.Mark, text, span string, i, n int) {
	m.Before, m.Text, m.Short = i < n-1, text, text
	if span != "" {
		m.Text += " (" + span + ")"
	}
	row.Marks = append(row.Marks, m)
}

func (s Spread) mark() chart.Mark {
	if s.Kept == 0 {
		return chart.Mark{Value: math.NaN()}
	}
	return chart.Mark{Low: s.Min, Value: s.Median, High: s.Max}
}

func survivalMark(r Row) (chart.Mark, string, string) {
	if r.InTime == nil || r.InTime.Kept == 0 {
		return chart.Mark{Value: math.NaN()}, "–", ""
	}
	return r.InTime.mark(), share(r.InTime.Median), shareSpan(*r.InTime)
}

// spanOfRuns is the range of at least two runs.
func (s Spread) spanOfRuns() string {
	if s.Kept < 2 {
		return ""
	}
	return s.span()
}

func shareSpan(s Spread) string {
	if s.Kept < 2 {
		return ""
	}
	return fmt.Sprintf("%.0f–%.0f", 100*s.Min, 100*s.Max)
}

func (s Spread) shareAndSpan() string {
	if span := shareSpan(s); span != "" {
		return share(s.Median) + " (" + span + ")"
	}
	return share(s.Median)
}

// costly reports whether the cost of a row's packets is of interest: at light loads the
// wake-ups cost more than the packets.
func costly(r Row) bool { return loadOrder(r.Load) < 2 && r.Kept > 0 && !r.ofCurve() }

// cost returns the processor time for a packet, of server and receiving thread.
func (r Row) cost() Spread {
	a, b := r.ServerNS.Runs, r.ReceiveNS.Runs
	if len(a) == 0 || len(a) != len(b) {
		sum := r.ServerNS.Median + r.ReceiveNS.Median
		return Spread{Median: sum, Min: sum, Max: sum, Kept: min(r.ServerNS.Kept, r.ReceiveNS.Kept)}
	}
	sums := slices.Clone(a)
	for i := range sums {
		sums[i] += b[i]
	}
	return SpreadOf(sums)
}

func costMark(r Row) (chart.Mark, string, string) {
	s := r.cost()
	m := s.mark()
	m.Parts = []float64{r.ServerNS.Median, r.ReceiveNS.Median}
	return m, short(s.Median) + " ns", s.spanOfRuns()
}

func latencyMark(r Row) (chart.Mark, string, string) {
	q := r.Latency
	return chart.Mark{Low: q.P50, Value: q.P50, High: q.P99}, short(q.P50) + " ms", "99 %: " + short(q.P99)
}

func (v view) openings() chart.Rows {
	picture := chart.Rows{Alternative: "Time from the grant to the open service, by type of service"}
	for _, o := range v.latest().Openings {
		row := chart.Row{Label: o.Type, Style: chart.Plain}
		for i, res := range v {
			m, text, span := chart.Mark{Value: math.NaN()}, "–", ""
			for _, x := range res.Openings {
				if x.Type == o.Type && x.Quantiles.P50 > 0 {
					q := x.Quantiles
					m, text, span = chart.Mark{Low: q.P50, Value: q.P50, High: q.P99}, short(q.P50)+" ms", "99 %: "+short(q.P99)
				}
			}
			addMark(&row, m, text, span, i, len(v))
		}
		picture.Rows = append(picture.Rows, row)
	}
	picture.Axis = chart.Logarithmic("milliseconds", picture.Rows)
	return picture
}

// memory has a row for each target. Lines over time would lie on each other.
func (v view) memory() chart.Rows {
	picture := chart.Rows{Alternative: "Resident memory of each target"}
	for _, last := range v.latest().Memory {
		row := chart.Row{Label: plain(last.Target), Style: v.styleOfTarget(last.Target)}
		for i, res := range v {
			m, text, span := chart.Mark{Value: math.NaN()}, "–", ""
			for _, s := range res.Memory {
				if s.Target == last.Target && len(s.Bytes) > 0 && slices.Min(s.Bytes) > 0 {
					low, end, high := slices.Min(s.Bytes)/(1<<20), s.Bytes[len(s.Bytes)-1]/(1<<20), slices.Max(s.Bytes)/(1<<20)
					m, text, span = chart.Mark{Low: low, Value: end, High: high}, short(end)+" MiB", short(low)+"–"+short(high)
				}
			}
			addMark(&row, m, text, span, i, len(v))
		}
		picture.Rows = append(picture.Rows, row)
	}
	picture.Axis = chart.Logarithmic("MiB", picture.Rows)
	return picture
}

func (v view) styleOfTarget(target string) chart.Style {
	for _, res := range v {
		for _, r := range res.Rows {
			if r.Target == target {
				return styleOf(r.configuration())
			}
		}
	}
	return styleOf(Row{Target: target, Unfiltered: target == "no-filter"}.configuration())
}
