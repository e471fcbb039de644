package report

import (
	"fmt"
	"math"
	"slices"

	"sallyport/bench/report/chart"
)

// Plot is a picture of the report.
type Plot struct {
	Name  string // of a file, without extension
	Title string
	Note  string // how to read it
	Chart chart.Chart
}

// SVG returns the picture as a file.
func (p Plot) SVG() []byte { return chart.Document(p.Title, p.Chart) }

// Plots returns the pictures of a result that has the figures for them.
func (res Result) Plots() []Plot {
	var plots []Plot
	for _, p := range (view{res}).plots() {
		plots = append(plots, p)
	}
	slices.SortFunc(plots, func(a, b Plot) int { return slices.Index(plotOrder, a.Name) - slices.Index(plotOrder, b.Name) })
	return plots
}

var plotOrder = []string{"curve", "goals", "survival", "cost", "latency", "openings", "memory"}

// plots returns the pictures by their names.
func (v view) plots() map[string]Plot {
	plots := map[string]Plot{}
	add := func(name, title, note string, c chart.Chart, ok bool) {
		if ok {
			plots[name] = Plot{name, title, note, c}
		}
	}
	curve, ok := v.curve()
	add("curve", "Honest knocks that open their service within 50 ms, by the rate of the flood",
		"Dot: median. Vertical line: range of the runs. "+neighbourNote, curve, ok)
	goals := v.goalRows()
	add("goals", "Each figure, relative to its goal",
		"To the right of the line the goal is reached; figures beyond the axis are at its ends. Dot: median. Line: range of the runs.", goals, len(goals.Rows) > 0)
	survival := v.dots("Survival of honest knocks by kind of flood", v.rows(func(r Row) bool { return r.InTime != nil && !r.ofCurve() }), survivalMark)
	survival.Axis = shareAxis("service open within 50 ms")
	add("survival", "Honest knocks in time, by kind of flood", "Dot: median. Line: range of the runs.", survival, len(survival.Rows) > 0)
	cost := v.dots("Processor time for each packet", v.rows(costly), costMark)
	cost.Axis = chart.Linear("ns of processor time for each packet", cost.Rows)
	add("cost", "Processor time for each packet",
		"Strong colour: the server's process. Light colour: the kernel's thread that receives. Thin line: range of the sum, which is more reliable than its parts.", cost, len(cost.Rows) > 0)
	latency := v.dots("Time from the last knock to the open service", v.rows(func(r Row) bool { return r.Latency != nil && r.Latency.P50 > 0 && !r.ofCurve() }), latencyMark)
	latency.Axis = chart.Logarithmic("milliseconds", latency.Rows)
	add("latency", "From the last knock to the open service", "Dot: median. Line: up to the 99th percentile. Knocks that did not survive do not count.", latency, len(latency.Rows) > 0)
	openings := v.openings()
	add("openings", "From the grant to the open service", "Without a flood. Dot: median. Line: up to the 99th percentile.", openings, len(openings.Rows) > 0)
	memory := v.memory()
	add("memory", "Resident memory", "Line: lowest and highest during the run. Dot: at its end.", memory, len(memory.Rows) > 0)
	return plots
}

func shareAxis(title string) chart.Axis {
	return chart.Axis{Title: title, Max: 1, Ticks: []float64{0, .25, .5, .75, 1}, Format: func(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) }}
}

// dots makes rows of a picture. A mark's text is a value without its range.
func (v view) dots(alternative string, rows []versions, mark func(Row) (m chart.Mark, text, span string)) chart.Rows {
	picture := chart.Rows{Alternative: alternative}
	for _, same := range rows {
		r := same[len(same)-1]
		if r == nil {
			continue // only the earlier result has it; the tables show it
		}
		row := chart.Row{Group: r.flood(), Sub: r.load(), Label: r.name(), Style: styleOf(r.configuration())}
		for i, version := range same {
			m, text, span := chart.Mark{Value: math.NaN()}, "–", ""
			if version != nil {
				m, text, span = mark(*version)
			}
			addMark(&row, m, text, span, i, len(same))
		}
		picture.Rows = append(picture.Rows, row)
	}
	return picture
}
