package chart

import (
	"math"
	"strings"
)

// Mark is a value with its range. With Parts it is a bar: the parts from 0, the first
// one at full strength.
type Mark struct {
	Low, Value, High float64
	Parts            []float64
	Before           bool   // hollow: the earlier one of two
	Text             string // beside the data
	Short            string // the same for narrow screens
	Bad              bool   // the text is marked
}

func (m Mark) textWidth(narrow bool) float64 {
	if m.Bad {
		return strongWidth(m.pick(narrow))
	}
	return textWidth(m.pick(narrow))
}

func (m Mark) pick(narrow bool) string {
	if narrow && m.Short != "" {
		return m.Short
	}
	return m.Text
}

func (m Mark) class() string {
	switch {
	case m.Bad:
		return "bad"
	case m.Before:
		return "soft"
	default:
		return "value"
	}
}

func (c *canvas) mark(x scale, y float64, s Style, m Mark) {
	if math.IsNaN(m.Value) {
		return
	}
	before := ""
	if m.Before {
		before = " before"
	}
	from := 0.0
	for i, part := range m.Parts {
		a, b := x.at(from), x.at(from+part)
		c.rect(a, y-5, b-a, 10, s.class()+" "+strings.Repeat("lighter", min(i, 1))+" bar"+before)
		from += part
	}
	if m.High > m.Low {
		class := s.class() + " range" + before
		if len(m.Parts) > 0 {
			class = "whisker"
		}
		c.line(x.at(m.Low), y, x.at(m.High), y, class)
	}
	if len(m.Parts) == 0 {
		c.dot(x.at(m.Value), y, s, m.Before)
	}
}

// Extent returns the least positive and the largest value of the marks.
func Extent(rows []Row) (least, most float64) {
	least = math.Inf(1)
	for _, row := range rows {
		for _, m := range row.Marks {
			sum := 0.0
			for _, part := range m.Parts {
				sum += part
			}
			for _, f := range []float64{m.Low, m.Value, m.High, sum} {
				if f > 0 {
					least, most = min(least, f), max(most, f)
				}
			}
		}
	}
	return least, most
}
