package presence

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var example = Info{
	Instance: 1, Run: 0xabcdef0123456789, Release: "v1.2.3", Started: time.Unix(1_700_000_000, 0),
	Written: time.UnixMilli(1_700_000_100_123), Took: 3 * time.Millisecond, Expires: time.Unix(1_800_000_000, 0),
	Parts: []Part{{"clients", 5}, {"services", 1 << 63}},
}

func TestParse(t *testing.T) {
	t.Parallel()
	text := string(example.Append(nil))
	got, err := Parse([]byte(text))
	if err != nil || string(got.Append(nil)) != text || got.Took != example.Took || !got.Written.Equal(example.Written) || len(got.Parts) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"empty":              "",
		"another version":    strings.Replace(text, "gateway 1", "gateway 2", 1),
		"a missing line":     strings.Replace(text, "took 3\n", "", 1),
		"upper case":         strings.Replace(text, "abcdef", "ABCDEF", 1),
		"a sign":             strings.Replace(text, "took 3", "took +3", 1),
		"a negative time":    strings.Replace(text, "took 3", "took -3", 1),
		"a huge time":        strings.Replace(text, "started 1", "started 99999999", 1),
		"a blank":            strings.Replace(text, "v1.2.3", "v1 2", 1),
		"a control":          strings.Replace(text, "v1.2.3", "v1\x1b", 1),
		"no release":         strings.Replace(text, "v1.2.3", "", 1),
		"a long release":     strings.Replace(text, "v1.2.3", strings.Repeat("v", maxRelease+1), 1),
		"another key":        text + "other 1\n",
		"a short digest":     text + "part x 1\n",
		"too many parts":     text + strings.Repeat("part x 0000000000000001\n", maxParts),
		"no end of the line": text[:len(text)-1],
		"too long":           text + strings.Repeat("x", maxValue),
	} {
		if got, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example.Append(nil))
	f.Add([]byte(firstLine))
	f.Fuzz(func(t *testing.T, value []byte) {
		if i, err := Parse(value); err == nil && !bytes.Equal(i.Append(nil), value) {
			t.Errorf("%q became %q", value, i.Append(nil))
		}
	})
}

func TestWord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"v1": "v1", "": "unknown", "a b\x1b": "a_b_", strings.Repeat("é", 99): strings.Repeat("_", maxRelease)} {
		if got := Word(text); got != want || !isWord(got, maxRelease) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestDigest: it depends on the part and on each byte of the content.
func TestDigest(t *testing.T) {
	t.Parallel()
	seen := map[uint64]bool{}
	for _, row := range [][2]string{{"clients", "a"}, {"clients", "b"}, {"services", "a"}, {"clients", ""}} {
		p, err := Digest(row[0], []byte(row[1]))
		again, _ := Digest(row[0], []byte(row[1]))
		if err != nil || p != again || p.Name != row[0] || seen[p.Digest] {
			t.Errorf("%q: %+v, %+v, %v", row, p, again, err)
		}
		seen[p.Digest] = true
	}
}
