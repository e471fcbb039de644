package roster

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/verify/wire"
)

// TestKeyFile: the file is private, no form of a key shows it, and anything else is an error
// without the text.
func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	if err := NewKeyFile(path); err == nil {
		t.Error("an existing file was replaced")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	k, err := ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k)
	secret := k.secrets[0]
	shown := fmt.Sprintf("%v %+v %#v %s %x %d", k, k, k, k, k, []Key{k}) + log.String()
	for _, form := range []string{fmt.Sprintf("%x", secret), fmt.Sprint(secret)[1:20], string(secret[:])} {
		if strings.Contains(shown, form) {
			t.Errorf("shown: %s", shown)
		}
	}
	line := keyPrefix + strings.Repeat("ab", 32)
	other := keyPrefix + strings.Repeat("cd", 32)
	for text, keys := range map[string]int{
		line: 1, "# x\n\n " + line + "\r\n": 1, line + "\n" + other: 2,
		"": 0, line + "\n" + line: 0, line + "0": 0, line[:len(line)-2]: 0, strings.Repeat("ab", 32): 0,
		line + "\n" + other + "\n" + keyPrefix + strings.Repeat("ef", 32): 0, line + "\nsecret": 0,
	} {
		k, err := ParseKey([]byte(text))
		if len(k.secrets) != keys || (err == nil) != (keys > 0) {
			t.Errorf("%q: %d keys, %v", text, len(k.secrets), err)
		}
		if err != nil && (strings.Contains(err.Error(), "abab") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("the error has the text: %v", err)
		}
	}
}

// TestJudge: which lists a gateway accepts after another one.
func TestJudge(t *testing.T) {
	at := func(v uint64) manifest { return manifest{whole: 1}.next(v, time.Time{}) }
	base := at(10)
	after := base.next(11, time.Time{})
	fork := base.next(11, time.Time{})
	far := after
	for v := uint64(12); v < 60; v++ {
		far = far.next(v, time.Time{})
	}
	whole := at(70)
	whole.whole = 70
	old := whole
	old.whole = 11
	for _, test := range []struct {
		name    string
		level   level
		list    manifest
		refused bool
		held    bool // from then on
	}{
		{"the first one", level{}, base, false, false},
		{"the same one", level{Mark: base.history[0]}, base, false, false},
		{"the next one", level{Mark: base.history[0]}, after, false, false},
		{"an older one", level{Mark: after.history[0]}, base, true, true},
		{"a fork", level{Mark: after.history[0]}, fork, true, true},
		{"after a fork", level{Mark: after.history[0]}, fork.next(12, time.Time{}), true, true},
		{"far ahead", level{Mark: after.history[0]}, far, false, false},
		{"far ahead, held", level{Mark: after.history[0], held: true}, far, true, true},
		{"the same one, held", level{Mark: base.history[0], held: true}, base, false, true},
		{"the next one, held", level{Mark: base.history[0], held: true}, after, false, true},
		{"written as a whole later, held", level{Mark: after.history[0], held: true}, whole, false, false},
		{"written as a whole at that version", level{Mark: after.history[0], held: true}, old, true, true},
	} {
		got, err := test.level.judge(test.list)
		if (err != nil) != test.refused || got.held != test.held {
			t.Errorf("%s: %v, %+v", test.name, err, got)
		}
		if want := test.list.history[0]; err == nil && got.Mark != want {
			t.Errorf("%s: the floor is %v, want %v", test.name, got.Mark, want)
		}
		if err != nil && got.Mark != test.level.Mark {
			t.Errorf("%s: the floor moved", test.name)
		}
	}
}

// TestFloorFile: the file outlives the process, and a damaged one is an error.
func TestFloorFile(t *testing.T) {
	dir := t.TempDir()
	f, err := openFloor(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := level{Mark{12, [8]byte{0, 1, 2, 0xff}}, true}
	if err := f.set(l); err != nil {
		t.Fatal(err)
	}
	if f, err = openFloor(dir); err != nil || f.level != l {
		t.Errorf("%+v, %v", f, err)
	}
	good := l.text()
	for _, text := range []string{"", good + "x", strings.Replace(good, "12", "012", 1), strings.Replace(good, "ff", "f", 1), strings.Replace(good, "true", "maybe", 1), good[:len(good)-1]} {
		if err := os.WriteFile(filepath.Join(dir, FloorFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openFloor(dir); !isA[*FloorError](err) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := errors.Join(Forget(dir), Forget(dir)); err != nil {
		t.Error(err)
	}
	if f, err = openFloor(dir); err != nil || f.level != (level{}) {
		t.Errorf("forgotten: %+v, %v", f, err)
	}
}

func id(s string) wire.Identifier { return wire.Identifier([]byte(s)) }

func isA[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

// TestDigest: entries can be added and removed in any order.
func TestDigest(t *testing.T) {
	s := newSealer([keySize]byte{1}, generation{2})
	values := map[string][]byte{}
	m := newMirror(0)
	for _, k := range []string{"com1", "com2", "com3", "com4"} {
		values[k] = s.seal(Entry{id(k), []byte("line")})
		m.set(id(k), s.code(id(k), values[k]))
	}
	m.set(id("com2"), s.code(id("com2"), []byte("another one")))
	m.remove(id("com1"))
	m.remove(id("com1"))
	var d digest
	for _, x := range []struct{ k, v string }{{"com4", string(values["com4"])}, {"com2", "another one"}, {"com3", string(values["com3"])}} {
		d.add(s.code(id(x.k), []byte(x.v)))
	}
	if !m.matches(manifest{count: 3, digest: d}) || m.matches(manifest{count: 4, digest: d}) {
		t.Error("the sums differ")
	}
	var zero, all digest
	for i := range all {
		all[i] = 0xff
	}
	zero.subtract(digest{31: 1})
	if zero != all {
		t.Errorf("0-1 is %x", zero)
	}
}
