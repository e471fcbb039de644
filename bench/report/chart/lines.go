package chart

import (
	"cmp"
	"slices"
)

// Lines is a picture of lines, each with its name at the end.
type Lines struct {
	Alternative string
	X, Y        Axis
	Lines       []Line
}

// Line is one line. Its points are in the order of X.
type Line struct {
	Name   string
	Short  string // for narrow screens
	Style  Style
	Points []Point
	Before bool // hollow and dashed: the earlier one of two
	Other  bool // dashed: from another source
}

// Point has a range in Y.
type Point struct{ X, Low, Y, High float64 }

func (l Lines) alternative() string { return l.Alternative }

func (l Lines) draw(width float64) *canvas {
	narrow := width < narrowWidth*1.2 // a panel has room for names
	c := &canvas{width: width, height: 430}
	if narrow {
		c.height = 330
	}
	names := 0.0
	for _, line := range l.Lines {
		names = max(names, strongWidth(line.pick(narrow)))
	}
	left := 0.0
	for _, t := range l.Y.ticks() {
		left = max(left, textWidth(l.Y.label(t))+13)
	}
	top, bottom := 30.0, c.height-axisHeight-4
	x, y := scale{l.X, left + 8, width - names - 14}, scale{l.Y, bottom - 4, top}
	c.text(0, 14, "soft", l.Y.Title)
	c.axisX(x, top, bottom)
	for _, t := range y.ticks() {
		c.line(left, y.at(t), x.to, y.at(t), "grid")
		c.text(left-8, y.at(t)+4, "soft end", y.label(t))
	}
	for _, line := range l.Lines {
		c.curve(x, y, line)
	}
	for _, e := range l.ends(y, top, bottom) {
		last := e.Points[len(e.Points)-1]
		from := x.at(last.X)
		if e.y-y.at(last.Y) > 5 || e.y-y.at(last.Y) < -5 || x.to-from > 20 {
			c.path("leader", [2]float64{from + 8, y.at(last.Y)}, [2]float64{x.to + 4, e.y}, [2]float64{x.to + 9, e.y})
		}
		c.text(x.to+12, e.y+4, "strong ink-"+e.Style.class(), e.pick(narrow))
	}
	return c
}

func (l Line) pick(narrow bool) string {
	if narrow && l.Short != "" {
		return l.Short
	}
	return l.Name
}

func (c *canvas) curve(x, y scale, l Line) {
	class := l.Style.class() + " curve"
	if l.Before || l.Other {
		class += " dashed"
	}
	var points [][2]float64
	for _, p := range l.Points {
		points = append(points, [2]float64{x.at(p.X), y.at(p.Y)})
		if p.High > p.Low {
			c.line(x.at(p.X), y.at(p.Low), x.at(p.X), y.at(p.High), l.Style.class()+" range")
		}
	}
	c.path(class, points...)
	for _, p := range points {
		c.dot(p[0], p[1], l.Style, l.Before || l.Other)
	}
}

// end is the place of a line's name.
type end struct {
	Line
	y float64
}

// ends places the names at the ends of the lines, one below the other.
func (l Lines) ends(y scale, top, bottom float64) (ends []end) {
	const distance = 18
	for _, line := range l.Lines {
		if len(line.Points) > 0 {
			ends = append(ends, end{line, y.at(line.Points[len(line.Points)-1].Y)})
		}
	}
	slices.SortStableFunc(ends, func(a, b end) int { return cmp.Compare(a.y, b.y) })
	for i := range ends {
		ends[i].y = max(ends[i].y, top)
		if i > 0 {
			ends[i].y = max(ends[i].y, ends[i-1].y+distance)
		}
	}
	limit := bottom
	for i := len(ends) - 1; i >= 0; i-- {
		ends[i].y = min(ends[i].y, limit)
		limit = ends[i].y - distance
	}
	return ends
}
