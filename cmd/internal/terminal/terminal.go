// Package terminal escapes text from files, servers and other processes, so that
// it cannot control a terminal: neither by escape sequences, nor by characters
// that reorder or hide the text beside them.
//
//	Text    a value, on one line: a column, a name
//	Lines   text of several lines: an error
//	Wrap    a stream, if it is a terminal
//	Is      whether a file is a terminal, for colours
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Text returns a text on one line. It escapes, as Go does, every character that
// is not printable: control characters (C0 and C1), including line ends and tabs;
// marks of direction, and other characters without a width; and bytes that are
// not UTF-8.
func Text(s string) string { return escape(s, "") }

// Lines is Text, but keeps line ends and tabs.
func Lines(s string) string { return escape(s, "\n\t") }

// escape escapes all that is not printable, except for some characters.
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

// Wrap returns a writer that applies Lines to all that is written, if w is a
// terminal. Otherwise it returns w itself: a file or another program receives the
// bytes unchanged.
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

// Raw returns the writer below Wrap: for the bytes of a program or a connection
// that the user asked for, and for text that is escaped already.
func Raw(w io.Writer) io.Writer {
	if wrapped, ok := w.(*writer); ok {
		return wrapped.w
	}
	return w
}

// Is reports whether a file is a terminal. Wrap also escapes for other character
// devices, where that does no harm.
func Is(f *os.File) (is bool) {
	// f.Fd would make the file blocking, also for a process that shares it.
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = c.Control(func(fd uintptr) { is = term.IsTerminal(int(fd)) })
	return is && err == nil
}

// writer keeps the first bytes of a character until the others are written.
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
