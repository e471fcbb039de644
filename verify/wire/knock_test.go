package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"pgregory.net/rapid"
)

type vector struct {
	ID, Comment, Key, Datagram, Result string
	Sequence, Maximum                  int8
	Identifier                         string
	Timestamp, Nonce                   uint32
}

func (v vector) knock() Knock {
	return Knock{
		Sequence: v.Sequence, Maximum: v.Maximum, Identifier: Identifier([]byte(v.Identifier)),
		Timestamp: v.Timestamp, Nonce: v.Nonce,
	}.Sign([]byte(v.Key))
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var file struct{ Knocks []vector }
	readJSON(t, "testdata/vectors.json", &file)
	if len(file.Knocks) == 0 {
		t.Fatal("no vectors")
	}
	return file.Knocks
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// judge parses a datagram and checks its MAC as a receiver would.
func judge(datagram, key []byte) (Knock, string) {
	k, err := Parse(datagram)
	var rule Rule
	if errors.As(err, &rule) {
		return k, rule.String()
	}
	if k.Sign(key).MAC != k.MAC {
		return k, "mac"
	}
	return k, "valid"
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			datagram := unhex(t, v.Datagram)
			k, result := judge(datagram, []byte(v.Key))
			if result != v.Result {
				t.Fatalf("%s: got %s, want %s", v.Comment, result, v.Result)
			}
			if result != "valid" {
				return
			}
			if want := v.knock(); k != want {
				t.Errorf("parsed %+v, want %+v", k, want)
			}
			b, err := v.knock().AppendBinary(nil)
			if err != nil || !bytes.Equal(b, datagram) {
				t.Errorf("encoded %x (%v), want %x", b, err, datagram)
			}
		})
	}
}

func TestFirstImplementation(t *testing.T) {
	var file struct {
		Knocks []struct {
			Identifier, Secret, Datagram string
			Sequence                     int8
			MaxSequence                  int8 `json:"max_sequence"`
			Timestamp, Nonce             uint32
		}
	}
	readJSON(t, "../testdata/first-implementation.json", &file)
	if len(file.Knocks) != 10 {
		t.Fatalf("%d rows, want 10", len(file.Knocks))
	}
	for _, row := range file.Knocks {
		want := unhex(t, row.Datagram)
		k := Knock{
			Sequence: row.Sequence, Maximum: row.MaxSequence, Identifier: Identifier([]byte(row.Identifier)),
			Timestamp: row.Timestamp, Nonce: row.Nonce,
		}.Sign([]byte(row.Secret))
		if got, err := k.AppendBinary(nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("encoded %x (%v), want %x", got, err, want)
		}
		if got, err := Parse(want); err != nil || got != k {
			t.Errorf("parsed %+v (%v), want %+v", got, err, k)
		}
	}
}

func TestAppendBinaryRefusesWhatParseWould(t *testing.T) {
	id := Identifier([]byte("com1"))
	for rule, k := range map[Rule]Knock{
		RuleMaximum:    {Maximum: -1, Identifier: id},
		RuleSequence:   {Sequence: 1, Maximum: 0, Identifier: id},
		RuleIdentifier: {Identifier: Identifier{'a', 'b', 'c', '\n'}},
	} {
		prefix := []byte("kept")
		b, err := k.AppendBinary(prefix)
		if err != rule {
			t.Errorf("%s: got error %v", rule, err)
		}
		if !bytes.Equal(b, prefix) {
			t.Errorf("%s: appended %x in spite of the error", rule, b)
		}
	}
}

func TestParseIdentifier(t *testing.T) {
	if id, err := ParseIdentifier("com1"); err != nil || id.String() != "com1" {
		t.Errorf("com1: %v, %v", id, err)
	}
	for _, s := range []string{"", "com", "com10", "co\tm", "com\x7f", "é12", "aé1"} {
		if _, err := ParseIdentifier(s); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maximum := rapid.Int8Range(0, 127).Draw(t, "maximum")
		k := Knock{
			Sequence:  rapid.Int8Range(0, maximum).Draw(t, "sequence"),
			Maximum:   maximum,
			Timestamp: rapid.Uint32().Draw(t, "timestamp"),
			Nonce:     rapid.Uint32().Draw(t, "nonce"),
		}
		for i := range k.Identifier {
			k.Identifier[i] = rapid.ByteRange(0x20, 0x7E).Draw(t, "identifier")
		}
		k = k.Sign([]byte(rapid.String().Draw(t, "secret")))
		b, err := k.AppendBinary(nil)
		if err != nil || len(b) != Size {
			t.Fatalf("encode: %d bytes, %v", len(b), err)
		}
		if got, err := Parse(b); err != nil || got != k {
			t.Fatalf("parsed %+v (%v), want %+v", got, err, k)
		}
	})
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, v := range vectors(t) {
		datagram := unhex(t, v.Datagram)
		if n := testing.AllocsPerRun(100, func() { Parse(datagram) }); n != 0 {
			t.Errorf("%s: %v allocations", v.ID, n)
		}
	}
}

func FuzzParseIdentifier(f *testing.F) {
	for _, s := range []string{"com1", "", "    ", "c\x00m1", "é12"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseIdentifier(s); err == nil && (id.String() != s || !id.Valid()) {
			t.Fatalf("%q became %q", s, id)
		}
	})
}

// FuzzParse: what parses re-encodes to the same bytes, and what does not
// parse breaks a named rule.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Datagram))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Parse(b)
		if err != nil {
			if rule, ok := err.(Rule); !ok || rule.String() == "unknown" {
				t.Fatalf("error %v is no rule", err)
			}
			return
		}
		if got, err := k.AppendBinary(nil); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("re-encoded %x (%v), want %x", got, err, b)
		}
	})
}
