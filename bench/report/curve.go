package report

import (
	"fmt"

	"sallyport/bench/report/chart"
)

// neighbour is the nearest published measurement: the rate of honest TCP transactions
// relative to that without an attack, while an XDP program drops the attack. Høiland-
// Jørgensen et al., The eXpress Data Path, CoNEXT 2018, Figure 7. The numbers are those of
// the drawing, figures/ddos-test.svg of github.com/tohojo/xdp-paper.
var neighbour = chart.Line{
	Name: "xdp-paper", Style: chart.Reference, Other: true,
	Points: []chart.Point{
		{X: 256e3, Y: .985}, {X: 1e6, Y: .934}, {X: 2e6, Y: .914}, {X: 3e6, Y: .887}, {X: 5e6, Y: .830},
		{X: 7e6, Y: .819}, {X: 10e6, Y: .799}, {X: 14e6, Y: .844},
	},
}

// neighbourNote explains neighbour.
const neighbourNote = "\"xdp-paper\" is the nearest published measurement (Høiland-Jørgensen et al., The eXpress Data Path, CoNEXT 2018, Figure 7), of another workload on another machine: TCP transactions a second, relative to those without an attack. One core drops the flood in XDP, and hands all other packets to a second core."

// refusable is the scenario of the curves that every tier can refuse.
const refusable = "bad-magic"

// curve has a panel for each kind of flood, and a line for each configuration.
func (v view) curve() (chart.Chart, bool) {
	var panels chart.Panels
	at := map[string]int{}
	for _, res := range v {
		for _, c := range res.Curves {
			if _, ok := at[c.Scenario]; !ok && len(c.points()) > 0 {
				at[c.Scenario] = len(panels)
				panels = append(panels, chart.Panel{Title: c.heading(), Chart: v.lines(c.Scenario)})
			}
		}
	}
	return panels, len(panels) > 0
}

func (c Curve) heading() string {
	if c.Scenario == refusable {
		return "Every tier can refuse it: " + c.Title
	}
	return "No tier can refuse it: " + c.Title
}

func (v view) lines(scenario string) chart.Lines {
	picture := chart.Lines{
		Alternative: "Survival of honest knocks by the rate of the flood, a line for each configuration",
		Y:           shareAxis("honest knocks in time"),
		X: chart.Axis{Title: "packets a second offered", Log: true, Min: 80e3, Max: 16e6,
			Ticks: []float64{1e5, 3e5, 1e6, 3e6, 1e7}, Format: rate0},
	}
	for _, c := range configurations {
		for i, res := range v {
			for _, curve := range res.Curves {
				if curve.Scenario != scenario || curve.Configuration != c.key {
					continue
				}
				line := chart.Line{Name: curve.name(), Short: curve.short(), Style: c.style, Before: i < len(v)-1, Points: curve.points()}
				if line.Before {
					line.Name, line.Short = c.name+" before", c.name+" before"
				}
				picture.Lines = append(picture.Lines, line)
			}
		}
	}
	if scenario == refusable {
		picture.Lines = append(picture.Lines, neighbour)
	}
	return picture
}

func (c Curve) name() string {
	if c.Configuration == XDP && c.Scenario != refusable {
		return "shield (ring)"
	}
	return configurations[orderOf(c.Configuration)].name
}

func (c Curve) short() string {
	if c.Configuration == XDP && c.Scenario != refusable {
		return "ring"
	}
	return c.name()
}

func (c Curve) points() (points []chart.Point) {
	for _, p := range c.Points {
		if p.Offered.Kept > 0 && p.Survival.Kept > 0 {
			s := p.Survival
			points = append(points, chart.Point{X: p.Offered.Median, Low: s.Min, Y: s.Median, High: s.Max})
		}
	}
	return points
}

// rate0 formats a round rate.
func rate0(f float64) string {
	if f >= 1e6 {
		return fmt.Sprintf("%g M", f/1e6)
	}
	return fmt.Sprintf("%g k", f/1e3)
}

func short0(f float64) string { return fmt.Sprintf("%g", f) }
