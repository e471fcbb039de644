package chart

import (
	"fmt"
	"strings"
)

// Panels are pictures side by side; on a narrow screen, one below the other.
type Panels []Panel

// Panel is one of several pictures.
type Panel struct {
	Title string
	Chart Chart
}

func (p Panels) alternative() string {
	var all []string
	for _, panel := range p {
		all = append(all, panel.Title+": "+panel.Chart.alternative())
	}
	return strings.Join(all, ". ")
}

func (p Panels) draw(width float64) *canvas {
	const gap, lineHeight = 40, 18
	c := &canvas{width: width}
	each, x, y := width, 0.0, 0.0
	if width >= narrowBelow && len(p) > 0 {
		each = (width - gap*float64(len(p)-1)) / float64(len(p))
	}
	most := 1 // lines of a title
	for _, panel := range p {
		most = max(most, len(wrap(panel.Title, each)))
	}
	head := float64(12 + lineHeight*most)
	for _, panel := range p {
		if x+each > width+1 {
			x, y = 0, c.height+gap/2
		}
		drawn := panel.Chart.draw(each)
		for i, line := range wrap(panel.Title, each) {
			c.text(x, y+15+float64(lineHeight*i), "strong", line)
		}
		fmt.Fprintf(&c.b, "<g transform=\"translate(%s %s)\">\n%s</g>\n", number(x), number(y+head), drawn.b.String())
		c.height = max(c.height, y+head+drawn.height)
		x += each + gap
	}
	return c
}
