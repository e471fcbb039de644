package chart

import (
	"fmt"
	"html"
)

// Rows is a picture of rows: a dot with a range, or a bar, for each value.
type Rows struct {
	Alternative string
	Axis        Axis
	Line        *float64 // a vertical line, for instance a goal
	LineText    string
	Rows        []Row
}

// Row is one row. Rows of the same group stand together under its name.
type Row struct {
	Group string
	Sub   string // below the group's name, of its first row
	Label string // short: it must fit a third of a narrow screen
	Style Style
	Marks []Mark // from top to bottom
}

func (r Rows) alternative() string { return r.Alternative }

const (
	rowHeight  = 21.0
	markHeight = 17.0 // of each further mark
	headHeight = 24.0
	axisHeight = 44.0
)

func (r Row) height() float64 {
	return rowHeight + markHeight*float64(max(0, len(r.Marks)-1))
}

// layout is how rows are drawn at a width.
type layout struct {
	narrow  bool // names of groups stand above their rows
	stacked bool // labels stand above their marks
}

func (r Rows) draw(width float64) *canvas {
	l := layout{narrow: width < narrowBelow}
	c := &canvas{width: width}
	group, label, text := 0.0, 0.0, 0.0
	for _, row := range r.Rows {
		group, label = max(group, strongWidth(row.Group), textWidth(row.Sub)), max(label, textWidth(row.Label))
		for _, m := range row.Marks {
			text = max(text, m.textWidth(l.narrow))
		}
	}
	l.stacked = l.narrow && label > width/2
	x0 := label + 14
	if l.stacked {
		x0 = 8
	} else if !l.narrow {
		x0 += group + 14
	}
	x := scale{r.Axis, x0, width - text - 16}

	// The places of the rows.
	top := 6.0
	if r.LineText != "" {
		top += 18
	}
	tops, y := r.places(top, l)
	c.height = y + axisHeight
	c.axisX(x, top, y+4)
	if r.Line != nil {
		at := x.at(*r.Line)
		c.line(at, top-2, at, y+4, "goal")
		anchor := "soft middle"
		if at+textWidth(r.LineText)/2 > width {
			anchor = "soft end"
		}
		c.text(at, top-8, anchor, r.LineText)
	}
	for i, row := range r.Rows {
		middle := tops[i] + row.height()/2
		if r.begins(i) && l.narrow {
			c.head(0, tops[i]-8-l.above(), row)
		} else if r.begins(i) {
			c.text(0, middle+4, "strong", row.Group)
			c.text(0, middle+20, "soft", row.Sub)
		}
		if l.stacked {
			c.rect(0, tops[i]-15, textWidth(row.Label), 18, "paper") // lines end at the label
			c.text(0, tops[i]-2, "ink-"+row.Style.class(), row.Label)
		} else {
			c.text(x0-14, middle+4, "end ink-"+row.Style.class(), row.Label)
		}
		for j, m := range row.Marks {
			y := tops[i] + rowHeight/2 + markHeight*float64(j)
			c.mark(x, y, row.Style, m)
			c.text(x.to+16, y+4, m.class(), m.pick(l.narrow))
		}
	}
	return c
}

// begins reports whether a row is the first one of its group.
func (r Rows) begins(i int) bool {
	return i == 0 || r.Rows[i].Group != r.Rows[i-1].Group || r.Rows[i].Sub != r.Rows[i-1].Sub
}

// places returns the upper end of each row, and the lower end of all.
func (r Rows) places(y float64, l layout) (tops []float64, bottom float64) {
	free := 0.0 // below the second line of the group's name
	for i, row := range r.Rows {
		if r.begins(i) {
			y = max(y, free)
			if i > 0 {
				y += 9
			}
			if l.narrow && row.Group != "" {
				y += headHeight
			} else if row.Sub != "" {
				free = y + row.height()/2 + 22
			}
		}
		y += l.above()
		tops = append(tops, y)
		y += row.height()
	}
	return tops, max(y, free)
}

// above is the height of a label above its marks.
func (l layout) above() float64 {
	if l.stacked {
		return 17
	}
	return 0
}

// head draws the name of a group in one line.
func (c *canvas) head(x, y float64, row Row) {
	fmt.Fprintf(&c.b, `<text x="%s" y="%s"><tspan class="strong">%s</tspan>`, number(x), number(y), html.EscapeString(row.Group))
	if row.Sub != "" {
		fmt.Fprintf(&c.b, ` <tspan class="soft">%s</tspan>`, html.EscapeString(row.Sub))
	}
	c.b.WriteString("</text>\n")
}

// axisX draws ticks from top to bottom. If their labels do not have room, only each second
// one has a label, or each third one.
func (c *canvas) axisX(x scale, top, bottom float64) {
	ticks := x.ticks()
	half := func(t float64) float64 { return textWidth(x.label(t)) / 2 }
	place := func(t float64) float64 { return min(max(x.at(t), half(t)), c.width-half(t)) }
	every := 1
	for i := every; i < len(ticks); i += every {
		if a, b := ticks[i-every], ticks[i]; place(b)-half(b) < place(a)+half(a)+6 {
			every++
			i = 0
		}
	}
	for i, t := range ticks {
		c.line(x.at(t), top, x.at(t), bottom, "grid")
		if i%every == 0 {
			c.text(place(t), bottom+16, "soft middle", x.label(t))
		}
	}
	if at := x.from; textWidth(x.Title) > x.to-x.from {
		c.text(c.width, bottom+35, "soft end", x.Title)
	} else {
		c.text(at, bottom+35, "soft", x.Title)
	}
}
