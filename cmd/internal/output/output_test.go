package output

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestColumns(t *testing.T) {
	var out strings.Builder
	c := New(&out, false, nil).Columns()
	err := c.Print(Header("CLIENT", "NOTE", "UNTIL"), Row("com1", "漢字", "now"), Row("e\u0301", "\x1b[2J", "-"), Row("a", "", ""), Row("a", "", "b"))
	want := "CLIENT  NOTE     UNTIL\n" +
		"com1    漢字     now\n" +
		"e\u0301       \\x1b[2J  -\n" +
		"a\n" +
		"a                b\n"
	if err != nil || out.String() != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, out.String(), want)
	}
}

// TestColumnsOneByOne: rows that are printed as events happen keep the widths of
// the rows before.
func TestColumnsOneByOne(t *testing.T) {
	var out strings.Builder
	c := New(&out, false, nil).Columns(4)
	for _, row := range [][]Cell{Row("a", "b"), Row("abcdef", "b"), Row("a", "b")} {
		if err := c.Print(row); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a     b\nabcdef  b\na       b\n"; out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestColours(t *testing.T) {
	var out strings.Builder
	p := New(&out, true, nil)
	p.Warning("a\x1b[31m\nb", "c")
	p.Columns().Print([]Cell{{"x", Red}, {"y", Plain}, {"", Bold}, {"z", Green}})
	want := "\x1b[33mwarning:\x1b[0m a\\x1b[31m\n  b\n\x1b[36m  hint:\x1b[0m c\n\x1b[31mx\x1b[0m  y    \x1b[32mz\x1b[0m\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestColoured(t *testing.T) {
	for _, row := range []struct {
		terminal bool
		env      map[string]string
		want     bool
	}{
		{false, map[string]string{"TERM": "xterm"}, false},
		{true, map[string]string{"TERM": "xterm"}, true},
		{true, map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
		{true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		{true, map[string]string{"TERM": "dumb"}, false},
	} {
		if got := Coloured(row.terminal, func(name string) string { return row.env[name] }); got != row.want {
			t.Errorf("%+v: got %t", row, got)
		}
	}
	if Coloured(true, nil) {
		t.Error("coloured without an environment")
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 26, 8, 15, 48, 999, time.UTC)
	if got := New(nil, false, time.FixedZone("", 3600)).Time(at); got != "2026-11-26 09:15:48 +01:00" {
		t.Errorf("got %s", got)
	}
	if got := Time(at, nil); got != "2026-11-26 08:15:48 +00:00" {
		t.Errorf("got %s", got)
	}
}

func TestJSON(t *testing.T) {
	const evil = "<a>&\x1b[2J\u009b\u202e\U000e0041\u2028\\\"漢\n\xff"
	text, err := JSON(map[string]string{"text": evil})
	if err != nil {
		t.Fatal(err)
	}
	line, ended := strings.CutSuffix(string(text), "\n")
	unprintable := strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) })
	if !ended || unprintable || !strings.Contains(line, "<a>&") || !strings.Contains(line, "漢") {
		t.Errorf("got %q", line)
	}
	var back map[string]string
	if err := json.Unmarshal(text, &back); err != nil || back["text"] != strings.ToValidUTF8(evil, "\ufffd") {
		t.Errorf("%q, %v", back, err)
	}
}
