package terminal

import (
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"plain, with umläuts and 漢字":       "plain, with umläuts and 漢字",
		"\x1b[2J\x1b]0;title\x07":          `\x1b[2J\x1b]0;title\x07`,
		"a\u009b31mred":                    `a\u009b31mred`,
		"user\u202egnp.exe\u2066\u200f":    `user\u202egnp.exe\u2066\u200f`,
		"zero\u200bwidth\ufeff\U000e0041":  `zero\u200bwidth\ufeff\U000e0041`,
		"two\nlines\tand\rback\x7f\x08":    `two\x0alines\x09and\x0dback\x7f\x08`,
		"\xff\xc3(":                        `\xff\xc3(`,
		"\u2028":                           `\u2028`,
		"the replacement character \ufffd": "the replacement character \ufffd",
	} {
		if got := Text(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := Lines("a\n\tb\r\n"); got != "a\n\tb\\x0d\n" {
		t.Errorf("lines: %q", got)
	}
}

func TestWriter(t *testing.T) {
	var out strings.Builder
	w := &writer{w: &out}
	for _, c := range []byte("ä漢\x1b[1m\u202e\xff\n") { // a byte at a time
		if n, err := w.Write([]byte{c}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := "ä漢\\x1b[1m\\u202e\\xff\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if Raw(w) != &out {
		t.Error("Raw does not return the writer below")
	}
	if f, err := os.CreateTemp(t.TempDir(), ""); err != nil || Wrap(f) != f || Raw(f) != f {
		t.Errorf("a file is wrapped, %v", err)
	}
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[0m")
	f.Fuzz(func(t *testing.T, s string) {
		got := Lines(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%q became %q", s, got)
		}
		if Lines(got) != got {
			t.Errorf("%q is escaped twice", got)
		}
	})
}
