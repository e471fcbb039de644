package chart

import (
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CSS is the style sheet of all pictures. A page that has pictures needs it once.
//
//go:embed chart.css
var CSS string

// The widths of the pictures, in pixels of CSS. The style sheet switches at 720.
const (
	wideWidth   = 1080
	narrowWidth = 358
	narrowBelow = 700 // a picture, or a part of one, uses the short texts
)

// Chart is a picture. The alternative text is for readers who cannot see it.
type Chart interface {
	draw(width float64) *canvas
	alternative() string
}

// Inline returns a picture for a page.
func Inline(c Chart) template.HTML {
	wide, narrow := c.draw(wideWidth), c.draw(narrowWidth)
	return template.HTML(wide.svg("chart wide", c.alternative(), "") + narrow.svg("chart narrow", c.alternative(), ""))
}

// Document returns a picture as a file, with a title, a margin and a background, so that
// it can be read on a light page and on a dark one.
func Document(title string, c Chart) []byte {
	const margin, head = 20, 34
	drawn := c.draw(wideWidth)
	whole := &canvas{width: drawn.width + 2*margin, height: drawn.height + 2*margin + head}
	whole.rect(0, 0, whole.width, whole.height, "paper")
	whole.text(margin, margin+15, "title", title)
	fmt.Fprintf(&whole.b, "<g transform=\"translate(%d %d)\">\n%s</g>\n", margin, margin+head, drawn.b.String())
	return []byte(whole.svg("chart", c.alternative(), CSS))
}

// canvas collects the elements of a picture. Texts are escaped; classes are not, and must
// be constants.
type canvas struct {
	width, height float64
	b             strings.Builder
}

func (c *canvas) svg(class, alternative, style string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="%s" viewBox="0 0 %s %s" role="img" aria-label="%s">`,
		class, number(c.width), number(c.height), html.EscapeString(alternative))
	b.WriteByte('\n')
	if style != "" {
		fmt.Fprintf(&b, "<style>\n%s</style>\n", style)
	}
	b.WriteString(c.b.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *canvas) text(x, y float64, class, s string) {
	if s != "" {
		fmt.Fprintf(&c.b, "<text x=\"%s\" y=\"%s\" class=\"%s\">%s</text>\n", number(x), number(y), class, html.EscapeString(s))
	}
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&c.b, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" class=\"%s\"/>\n",
		number(x1), number(y1), number(x2), number(y2), class)
}

func (c *canvas) rect(x, y, width, height float64, class string) {
	fmt.Fprintf(&c.b, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" class=\"%s\"/>\n",
		number(x), number(y), number(max(0, width)), number(height), class)
}

func (c *canvas) path(class string, points ...[2]float64) {
	fmt.Fprintf(&c.b, `<path class="%s" d="`, class)
	for i, p := range points {
		c.b.WriteString([]string{"M", "L"}[min(i, 1)] + number(p[0]) + " " + number(p[1]))
	}
	c.b.WriteString("\"/>\n")
}

// dot draws the shape of a style.
func (c *canvas) dot(x, y float64, s Style, hollow bool) {
	class := s.class() + " dot"
	if hollow {
		class += " hollow"
	}
	const r = 5
	switch s {
	case Filter:
		c.rect(x-r+.5, y-r+.5, 2*r-1, 2*r-1, class)
	case Shield:
		c.path(class, [2]float64{x, y - r - 1}, [2]float64{x + r + 1, y}, [2]float64{x, y + r + 1}, [2]float64{x - r - 1, y}, [2]float64{x, y - r - 1})
	default:
		fmt.Fprintf(&c.b, "<circle cx=\"%s\" cy=\"%s\" r=\"%d\" class=\"%s\"/>\n", number(x), number(y), r, class)
	}
}

// number formats a coordinate.
func number(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// textWidth estimates the width of a text in pixels, from that of DejaVu Sans; most
// fonts need less.
func textWidth(s string) float64 { return 7.6 * float64(utf8.RuneCountInString(s)) }

// strongWidth is the same for strong text.
func strongWidth(s string) float64 { return 8.6 * float64(utf8.RuneCountInString(s)) }

// wrap breaks a strong text into lines.
func wrap(s string, width float64) (lines []string) {
	for _, word := range strings.Fields(s) {
		if n := len(lines); n > 0 && strongWidth(lines[n-1]+" "+word) <= width {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}
