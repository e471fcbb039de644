package report

import (
	"math"

	"sallyport/bench/report/chart"
)

// goalRows shows each figure as a multiple of its goal, so that all stand before one
// line. A figure that must be small is inverted.
func (v view) goalRows() chart.Rows {
	const most = 4
	one := 1.0
	picture := chart.Rows{
		Alternative: "Each figure relative to its goal", Line: &one, LineText: "goal",
		Axis: chart.Axis{
			Title: "times better than the goal", Log: true, Min: 1. / most, Max: most,
			Ticks: []float64{.25, .5, 1, 2, 4}, Format: func(f float64) string {
				if f < 1 {
					return "÷ " + short0(1/f)
				}
				return "× " + short0(f)
			},
		},
	}
	for _, q := range questions {
		for _, r := range v.measured() {
			if r.Limit == 0 || !q.about(r) {
				continue
			}
			row := chart.Row{Group: q.short, Label: r.Name, Style: styleOf(r.configuration())}
			for i, res := range v {
				s := r.Of(res)
				m, text, span := s.mark(), "–", ""
				if s.Kept > 0 {
					text, span = s.text(), s.spanOfRuns()
					m = chart.Mark{Low: r.toGoal(s.Min), Value: r.toGoal(s.Median), High: r.toGoal(s.Max)}
					m.Low, m.High = min(m.Low, m.High), max(m.Low, m.High)
				}
				m.Bad = r.verdict(s) == missed
				addMark(&row, m, text, span, i, len(v))
			}
			picture.Rows = append(picture.Rows, row)
		}
	}
	return picture
}

// toGoal returns the multiple of the goal; more is better.
func (r Ratio) toGoal(f float64) float64 {
	switch {
	case !r.AtMost:
		return f / r.Limit
	case f > 0:
		return r.Limit / f
	default:
		return math.MaxFloat64
	}
}
