package bench

import (
	"sallyport/bench/report"
	"sallyport/bench/scenario"
)

// curve is a survival curve: a kind of flood at a target, at all of curveLoads.
type curve struct{ kind, target string }

// curvesOf are all curves: a flood that each refusal stops, and one that none can. The
// shield's follow each other, because its server must start again after other targets.
var curvesOf = []curve{
	{"bad-magic", unfiltered}, {"sniffed", unfiltered},
	{"bad-magic", shipped}, {"sniffed", shipped},
	{"bad-magic", shielded}, {"sniffed", shielded},
}

func (c curve) at(l load) step { return step{c.kind, c.target, l, true} }

// curves returns the curves, with the points that were measured.
func (b *results) curves() (curves []report.Curve) {
	for _, c := range curvesOf {
		kind, _ := scenario.ByName(c.kind)
		drawn := report.Curve{Configuration: configuration(c.target), Scenario: c.kind, Title: kind.Title}
		for _, l := range curveLoads {
			var offered, survival []float64
			for _, e := range b.entries {
				if e.step == c.at(l) {
					_, timely := e.step.survival(e.window)
					offered, survival = append(offered, e.rate(e.host.offered)), append(survival, timely)
				}
			}
			if len(offered) > 0 {
				drawn.Points = append(drawn.Points, report.CurvePoint{
					Planned: planned(l), Offered: report.SpreadOf(offered), Survival: report.SpreadOf(survival),
				})
			}
		}
		if len(drawn.Points) > 0 {
			curves = append(curves, drawn)
		}
	}
	return curves
}
