package chart

import (
	"math"
	"strconv"
)

// Axis is a scale of values.
type Axis struct {
	Title    string
	Min, Max float64
	Log      bool // Min is positive
	Unit     string
	Format   func(float64) string // of ticks; default: the shortest decimal
	Ticks    []float64            // default: at most six
}

// Linear returns an axis from 0 that has room for all marks.
func Linear(title string, rows []Row) Axis {
	_, most := Extent(rows)
	step := niceStep(most)
	return Axis{Title: title, Max: max(step, step*math.Ceil(most/step-1e-9))}
}

// Logarithmic returns an axis around the positive values of the marks.
func Logarithmic(title string, rows []Row) Axis {
	least, most := Extent(rows)
	if most == 0 {
		least, most = 1, 10
	}
	a := Axis{Title: title, Log: true, Min: least / 1.15, Max: most * 1.15}
	for len(a.ticks()) < 2 {
		a.Min, a.Max = a.Min/1.5, a.Max*1.5
	}
	return a
}

// niceStep returns a distance of ticks, so that there are at most six.
func niceStep(most float64) float64 {
	if !(most > 0) || math.IsInf(most, 0) {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if most/(m*unit) <= 5 {
			return m * unit
		}
	}
	return 10 * unit
}

func (a Axis) ticks() (ticks []float64) {
	switch {
	case a.Ticks != nil:
		return a.Ticks
	case !a.Log:
		step := niceStep(a.Max)
		for i := math.Ceil(a.Min / step); i*step <= a.Max*(1+1e-9); i++ {
			ticks = append(ticks, i*step)
		}
		return ticks
	}
	factors := []float64{1, 2, 5}
	if a.Max/a.Min > 300 {
		factors = []float64{1}
	} else if a.Max/a.Min > 20 {
		factors = []float64{1, 3}
	}
	for e := math.Floor(math.Log10(a.Min)); e <= math.Log10(a.Max); e++ {
		for _, f := range factors {
			if t := f * math.Pow(10, e); t >= a.Min && t <= a.Max {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}

func (a Axis) label(f float64) string {
	if a.Format != nil {
		return a.Format(f)
	}
	return strconv.FormatFloat(f, 'g', 6, 64) + a.Unit
}

// scale maps values to pixels. Values beyond the axis are at its ends.
type scale struct {
	Axis
	from, to float64 // pixels of Min and Max
}

func (s scale) at(f float64) float64 {
	f = min(max(f, s.Min), s.Max)
	share := (f - s.Min) / (s.Max - s.Min)
	if s.Log {
		share = math.Log(f/s.Min) / math.Log(s.Max/s.Min)
	}
	return s.from + share*(s.to-s.from)
}
