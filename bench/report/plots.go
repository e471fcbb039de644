package report

import (
	"bytes"
	"html/template"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // the format
)

// Plot is a picture of the report.
type Plot struct {
	Name  string // of a file, without extension
	Title string
	SVG   []byte // a complete document
}

// Inline returns the picture as a part of a page.
func (p Plot) Inline() template.HTML {
	return template.HTML(p.SVG[max(0, bytes.Index(p.SVG, []byte("<svg"))):])
}

const (
	plotWidth  = 24 * vg.Centimeter
	plotHeight = 10 * vg.Centimeter
)

// Plots draws all pictures.
func (res Result) Plots() (plots []Plot, err error) {
	for _, draw := range []struct {
		name, title string
		onto        func(*plot.Plot) error
	}{
		{"survival", "Honest knocks that had their effect within 50 ms, per cent, by flood", res.drawSurvival},
		{"cost", "Processor time for each packet that arrived, nanoseconds: server, and above it the kernel's receive thread", res.drawCost},
		{"latency", "Last knock to open, milliseconds: median and 99th percentile", res.drawLatency},
		{"memory", "Resident memory over the run, MiB", res.drawMemory},
	} {
		p := plot.New()
		if err := draw.onto(p); err != nil {
			return nil, err
		}
		p.Legend.Top, p.Legend.Left, p.Legend.TextStyle.Font.Size = true, true, vg.Points(8)
		p.Legend.ThumbnailWidth, p.Legend.Padding = vg.Points(10), vg.Points(2)
		p.Legend.XOffs, p.Legend.YOffs = vg.Points(4), -vg.Points(2)
		p.Y.Max *= 1.3 // room for the legend
		to, err := p.WriterTo(plotWidth, plotHeight, "svg")
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if _, err := to.WriteTo(&b); err != nil {
			return nil, err
		}
		plots = append(plots, Plot{draw.name, draw.title, b.Bytes()})
	}
	return plots, nil
}

// pairs returns the rows whose honest knocks can be shown side by side: floods
// with the kernel's filter and without.
func (res Result) pairs() (names []string, on, off []Row) {
	for _, r := range res.Rows {
		if r.InTime == nil || r.Unfiltered || slices.Contains(names, label(r)) {
			continue
		}
		names, on = append(names, label(r)), append(on, r)
		i := slices.IndexFunc(res.Rows, func(o Row) bool {
			return o.Unfiltered && o.InTime != nil && o.Scenario == r.Scenario && o.Load == r.Load
		})
		if i < 0 {
			off = append(off, Row{})
		} else {
			off = append(off, res.Rows[i])
		}
	}
	return names, on, off
}

// label names a row in a plot.
func label(r Row) string {
	if r.Load == usualLoad {
		return r.Scenario
	}
	return r.Scenario + ", " + r.Load
}

const usualLoad = "highest"

func (res Result) drawSurvival(p *plot.Plot) error {
	value := func(r Row) float64 {
		if r.InTime == nil {
			return 0
		}
		return 100 * r.InTime.Median
	}
	names, on, off := res.pairs()
	return bars(p, names, series{"with the kernel's filter", each(on, value)}, series{"without", each(off, value)})
}

func (res Result) drawLatency(p *plot.Plot) error {
	at := func(of func(Quantiles) float64) func(Row) float64 {
		return func(r Row) float64 {
			if r.Latency == nil {
				return 0
			}
			return of(*r.Latency)
		}
	}
	names, on, _ := res.pairs()
	return bars(p, names, series{"median", each(on, at(func(q Quantiles) float64 { return q.P50 }))},
		series{"99th percentile", each(on, at(func(q Quantiles) float64 { return q.P99 }))})
}

func (res Result) drawCost(p *plot.Plot) error {
	var names []string
	var server, receive []float64
	for _, r := range res.Rows {
		if r.Load != usualLoad {
			continue
		}
		names = append(names, r.Scenario+", "+r.Target)
		server, receive = append(server, r.ServerNS.Median), append(receive, r.ReceiveNS.Median)
	}
	if len(names) == 0 {
		return nil
	}
	below, err := plotter.NewBarChart(plotter.Values(server), vg.Points(8))
	if err != nil {
		return err
	}
	above, err := plotter.NewBarChart(plotter.Values(receive), vg.Points(8))
	if err != nil {
		return err
	}
	below.Color, above.Color = plotutil.Color(0), plotutil.Color(1)
	below.LineStyle.Color, above.LineStyle.Color = color.Transparent, color.Transparent
	above.StackOn(below)
	p.Add(below, above)
	p.Legend.Add("server", below)
	p.Legend.Add("receive", above)
	slanted(p, names)
	return nil
}

func (res Result) drawMemory(p *plot.Plot) error {
	p.X.Label.Text = "seconds"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	for i, s := range res.Memory {
		points := make(plotter.XYs, len(s.Seconds))
		for j := range points {
			points[j].X, points[j].Y = s.Seconds[j], s.Bytes[j]/(1<<20)
		}
		if len(points) == 0 {
			continue
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(s.Target, line)
	}
	p.Y.Min, p.Y.Max = 10, max(100, 2*p.Y.Max)
	return nil
}

type series struct {
	name   string
	values []float64
}

func each(rows []Row, f func(Row) float64) (values []float64) {
	for _, r := range rows {
		values = append(values, f(r))
	}
	return values
}

// bars draws series side by side.
func bars(p *plot.Plot, names []string, all ...series) error {
	if len(names) == 0 {
		return nil
	}
	const width = 7
	p.Y.Min = 0
	for i, s := range all {
		chart, err := plotter.NewBarChart(plotter.Values(s.values), vg.Points(width))
		if err != nil {
			return err
		}
		chart.Color, chart.LineStyle.Color = plotutil.Color(i), color.Transparent
		chart.Offset = vg.Points(width * (float64(i) - float64(len(all)-1)/2))
		p.Add(chart)
		p.Legend.Add(s.name, chart)
	}
	slanted(p, names)
	return nil
}

// slanted adds slanted names under the bars.
func slanted(p *plot.Plot, names []string) {
	p.NominalX(names...)
	p.X.Tick.Label.Rotation = 0.6
	p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = -1, -0.5
	p.X.Tick.Label.Font.Size = vg.Points(8)
	p.X.Min, p.X.Max = -0.7, float64(len(names))-0.3
	lines := plotter.NewGrid()
	lines.Vertical.Color = nil
	p.Add(lines)
}
