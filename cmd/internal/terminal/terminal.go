// Package terminal prints text of others, such as files, servers and other
// processes, so that it cannot control a terminal: neither by escape sequences,
// nor by characters that reorder or hide what stands beside them.
//
//	Text    a value, on one line: a column, a name
//	Lines   text of several lines: an error
//	Wrap    a stream, if it is a terminal
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns a text on one line, with all that is not printable escaped as Go
// does: control characters (C0 and C1), line ends and tabs among them; marks of
// direction, and others that take no room; and bytes that are no UTF-8.
func Text(s string) string { return escape(s, "") }

// Lines is Text that leaves line ends and tabs.
func Lines(s string) string { return escape(s, "\n\t") }

func escape(s, except string) string {
	harmless := func(r rune) bool { return unicode.IsPrint(r) || strings.ContainsRune(except, r) }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !harmless(r) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case harmless(r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// Wrap returns a writer that has Lines of all that is written, if w is a
// terminal, and else w itself: what a file or another program gets stays as it
// is.
func Wrap(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return w
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return w
	}
	return &writer{w: w}
}

// Raw undoes Wrap: for the bytes of a program or a connection that the user
// asked for.
func Raw(w io.Writer) io.Writer {
	if wrapped, ok := w.(*writer); ok {
		return wrapped.w
	}
	return w
}

// writer keeps the beginning of a character until the rest of it comes.
type writer struct {
	w    io.Writer
	part []byte
}

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	text := append(w.part, b...)
	whole := len(text)
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		if c := text[len(text)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(text[len(text)-back:]) {
				whole = len(text) - back
			}
			break
		}
	}
	w.part = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(w.w, Lines(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(b), nil
}
