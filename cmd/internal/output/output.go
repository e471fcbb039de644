// Package output prints the results of commands: for people in aligned columns,
// with colours and local times, and for programs as JSON.
//
//	Printer   prints to one stream; cli.Env makes one each for standard output
//	          and standard error
//	Columns   rows whose cells are aligned
//	JSON      a value on one line
//
// All text may come from files, servers and other programs. A Printer escapes it
// as package terminal does, and adds its own colours after that; JSON escapes the
// same characters as \uXXXX, so a program reads the original text.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/rivo/uniseg"

	"sallyport/cmd/internal/terminal"
)

// TimeFormat is how people read a time: 2026-11-26 09:15:48 +01:00.
const TimeFormat = "2006-01-02 15:04:05 -07:00"

// Time formats a time in a zone; nil: UTC.
func Time(t time.Time, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format(TimeFormat)
}

// Colour is a colour or a weight of text.
type Colour string

// The colours, as parameters of the sequence SGR (ECMA-48).
const (
	Plain  Colour = ""
	Bold   Colour = "1"
	Red    Colour = "31" // errors
	Green  Colour = "32"
	Yellow Colour = "33" // warnings
	Cyan   Colour = "36" // hints and advice
)

// Coloured reports whether a stream gets colours: it is a terminal, NO_COLOR is
// unset or empty, and TERM is not "dumb".
func Coloured(isTerminal bool, getenv func(string) string) bool {
	if !isTerminal || getenv == nil || getenv("NO_COLOR") != "" || getenv("TERM") == "dumb" {
		return false
	}
	// The older console of Windows prints the sequences as text.
	return runtime.GOOS != "windows" || getenv("WT_SESSION") != "" || getenv("TERM") != ""
}

// Printer prints to one stream.
type Printer struct {
	w      io.Writer
	colour bool
	zone   *time.Location
}

// New returns a printer. If w is a stream of terminal.Wrap, the printer writes to
// the stream below it, because it escapes by itself.
func New(w io.Writer, coloured bool, zone *time.Location) *Printer {
	return &Printer{terminal.Raw(w), coloured, zone}
}

// Time formats a time in the zone of the printer.
func (p *Printer) Time(t time.Time) string { return Time(t, p.zone) }

// Printf prints text, which may have several lines.
func (p *Printer) Printf(format string, args ...any) error {
	_, err := io.WriteString(p.w, terminal.Lines(fmt.Sprintf(format, args...)))
	return err
}

// Labelled prints a label, a colon and text, which may have several lines.
func (p *Printer) Labelled(label Cell, text string) error {
	text = strings.TrimSuffix(terminal.Lines(text), "\n")
	_, err := fmt.Fprintf(p.w, "%s %s\n", p.paint(Cell{label.Text + ":", label.Colour}), text)
	return err
}

// Warning prints a warning, and the hint below it, if there is one.
func (p *Printer) Warning(text, hint string) error {
	return p.withHint(Cell{"warning", Yellow}, text, hint)
}

// Advice prints advice, and the hint below it, if there is one.
func (p *Printer) Advice(text, hint string) error {
	return p.withHint(Cell{"advice", Cyan}, text, hint)
}

func (p *Printer) withHint(label Cell, text, hint string) error {
	text = strings.ReplaceAll(text, "\n", "\n  ")
	if err := p.Labelled(label, text); err != nil || hint == "" {
		return err
	}
	return p.Labelled(Cell{"  hint", Cyan}, hint)
}

// paint escapes a text, and surrounds it with its colour.
func (p *Printer) paint(c Cell) string {
	text := terminal.Text(c.Text)
	if !p.colour || c.Colour == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(c.Colour) + "m" + text + "\x1b[0m"
}

// Cell is a text in a column.
type Cell struct {
	Text   string
	Colour Colour
}

// Row returns a row of cells without colours.
func Row(texts ...string) []Cell { return row(Plain, texts) }

// Header returns a row of bold cells.
func Header(texts ...string) []Cell { return row(Bold, texts) }

func row(colour Colour, texts []string) []Cell {
	cells := make([]Cell, len(texts))
	for i, text := range texts {
		cells[i] = Cell{text, colour}
	}
	return cells
}

// gap is the room between two columns.
const gap = 2

// Columns prints aligned rows. A column is as wide as its widest cell so far, as
// a terminal counts: a Chinese character takes the room of two letters.
type Columns struct {
	p      *Printer
	widths []int
}

// Columns begins a table. The widths are the least ones of the first columns:
// for rows that are printed one by one, as events happen.
func (p *Printer) Columns(widths ...int) *Columns { return &Columns{p, widths} }

// Print prints rows, aligned with one another.
func (c *Columns) Print(rows ...[]Cell) error {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(c.widths) {
				c.widths = append(c.widths, 0)
			}
			// The last cell may be long, and has nothing behind it.
			if i < len(row)-1 {
				c.widths[i] = max(c.widths[i], width(cell.Text))
			}
		}
	}
	var b strings.Builder
	for _, row := range rows {
		end := len(row)
		for end > 0 && row[end-1].Text == "" {
			end--
		}
		for i, cell := range row[:end] {
			b.WriteString(c.p.paint(cell))
			if i < end-1 {
				b.WriteString(strings.Repeat(" ", c.widths[i]-width(cell.Text)+gap))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(c.p.w, b.String())
	return err
}

// width is how many columns of a terminal a text takes, once it is escaped.
func width(text string) int { return uniseg.StringWidth(terminal.Text(text)) }

// JSON prints a value on one line.
func (p *Printer) JSON(v any) error {
	text, err := JSON(v)
	if err == nil {
		_, err = p.w.Write(text)
	}
	return err
}

// JSON encodes a value on one line, with a line end. A character that a terminal
// would not print is escaped.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	escaped := make([]byte, 0, len(text)+1)
	// Outside of strings JSON has printable ASCII only, so every other character
	// is in a string.
	for _, r := range string(text) {
		switch high, low := utf16.EncodeRune(r); {
		case unicode.IsPrint(r):
			escaped = append(escaped, string(r)...)
		case r > 0xFFFF:
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	return append(escaped, '\n'), nil
}
