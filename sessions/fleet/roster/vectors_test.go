package roster

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

// vectorFile is testdata/vectors.json, which another program has written.
type vectorFile struct {
	Key     string
	KeyID   string `json:"key_id"`
	Vectors []vector
}

type vector struct {
	ID, Comment, Manifest, Result string
	Entries                       map[string]string
}

func vectors(t testing.TB) (f vectorFile, key Key) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	if key, err = ParseKey([]byte(f.Key)); err != nil {
		t.Fatal(err)
	}
	return f, key
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// result is what a gateway that has applied nothing makes of a vector.
func (v vector) result(t *testing.T, key Key) string {
	m, s, err := key.openManifest(unhex(t, v.Manifest))
	switch {
	case isA[*KeyError](err):
		return "key"
	case err != nil:
		return "manifest"
	}
	if _, err := (level{}).judge(m); err != nil {
		t.Errorf("%s: %v", v.ID, err)
	}
	mirror := newMirror(0)
	lines := map[string]string{}
	for name, value := range v.Entries {
		_, id, ok := parseName(name)
		if !ok {
			return "name"
		}
		raw := unhex(t, value)
		line, err := s.open(nil, id, raw)
		if err != nil {
			return "entry"
		}
		mirror.set(id, s.code(id, raw))
		lines[id.String()] = string(line)
	}
	if !mirror.matches(m) {
		return "entries"
	}
	text := fmt.Sprintf("version %d:", m.version())
	for i, k := range slices.Sorted(maps.Keys(lines)) {
		if i > 0 {
			text += ";"
		}
		text += " " + k + "=" + lines[k]
	}
	return text
}

// TestVectors: each vector is the list that it names, or is refused for the reason that it
// names.
func TestVectors(t *testing.T) {
	f, key := vectors(t)
	if got := key.IDs(); len(got) != 1 || got[0] != f.KeyID {
		t.Errorf("the key is %v, want %s", got, f.KeyID)
	}
	results := map[string]bool{}
	for _, v := range f.Vectors {
		if got := v.result(t, key); got != v.Result {
			t.Errorf("%s (%s): %s, want %s", v.ID, v.Comment, got, v.Result)
		}
		results[v.Result] = true
	}
	for _, r := range []string{"key", "manifest", "name", "entry", "entries"} {
		if !results[r] {
			t.Errorf("no vector has the result %s", r)
		}
	}
}

// FuzzParsePlain: a manifest that parses is encoded to the same bytes.
func FuzzParsePlain(f *testing.F) {
	file, key := vectors(f)
	for _, v := range file.Vectors {
		if m, _, err := key.openManifest(unhex(f, v.Manifest)); err == nil {
			f.Add(m.appendBinary(nil))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parsePlain(b)
		if err != nil {
			return
		}
		if again := m.appendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x is encoded as %x", b, again)
		}
		if !m.follows(m.history[0]) || len(m.next(m.version()+1, m.written).history) > maxHistory {
			t.Errorf("%x: its history is wrong", b)
		}
	})
}

// FuzzValues: no value of etcd is a panic, and a changed one does not open.
func FuzzValues(f *testing.F) {
	file, key := vectors(f)
	good := map[string]bool{}
	for _, v := range file.Vectors {
		raw := unhex(f, v.Manifest)
		if _, _, err := key.openManifest(raw); err == nil {
			good[string(raw)] = true
		}
		f.Add("x", raw)
		for name, value := range v.Entries {
			f.Add(name, unhex(f, value))
		}
	}
	s := newSealer(key.secrets[0], generation{})
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if _, _, err := key.openManifest(b); err == nil && !good[string(b)] {
			t.Errorf("a manifest without the key: %x", b)
		}
		if g, id, ok := parseName(name); ok {
			if again := g.String() + "/" + id.String(); again != name {
				t.Errorf("%q is written as %q", name, again)
			}
			if _, err := s.open(nil, id, b); err == nil {
				t.Errorf("an entry of another generation: %x", b)
			}
		}
	})
}
