package grants

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// vector is a row of testdata/vectors.json, which another program has written.
type vector struct {
	ID, Comment, Key, Value, Result string
}

func vectors(t testing.TB) (list []vector) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(v.Value), ""))
	if err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	return b
}

// TestVectors: each vector is accepted, or refused for the reason that it names; and those
// that are accepted are what this package writes.
func TestVectors(t *testing.T) {
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	now := time.Unix(1_700_000_000, 0)
	for _, vector := range vectors(t) {
		raw := vector.bytes(t)
		k, ok := parseKey(vector.Key)
		v, err := parseValue(raw)
		result := "malformed"
		if ok && err == nil {
			a, outcome := authenticate(k, v, Policy{Table: table, Ports: 3, Tolerance: 30 * time.Second}, now)
			if result = outcome.String(); outcome == Opened {
				o := operation{attempt: attemptOf(a), value: value{closes: v.closes, differ: v.differ, address: v.address, end: v.end}}
				if made, ok := encode(k, o, table, now); !ok || !bytes.Equal(made, raw) {
					t.Errorf("%s: this package writes %x", vector.ID, made)
				}
				result = "authentic"
			}
		}
		if result != vector.Result {
			t.Errorf("%s (%s): %s (%v), want %s", vector.ID, vector.Comment, result, err, vector.Result)
		}
	}
}

// FuzzParseValue: a value that parses is encoded to the same bytes.
func FuzzParseValue(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.bytes(f))
	}
	table, err := verify.NewKeyTable(verifytest.Clients("com1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseValue(b)
		if err != nil {
			return
		}
		if again := v.appendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x is encoded as %x", b, again)
		}
		authenticate(grantKey{"a", verifytest.ID("com1"), ipv4}, v, Policy{Table: table, Ports: 3, Tolerance: 30 * time.Second}, time.Now())
	})
}

// FuzzParseKey: a key that parses is written as the same name.
func FuzzParseKey(f *testing.F) {
	for _, name := range []string{"one/com1/4", "one/com1/6", "a/////close", "one//4", "one/com1/5", "", "/com1/4", "one/com1/4/"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if k, ok := parseKey(name); ok && k.String() != name {
			t.Errorf("%q is written as %q", name, k)
		}
	})
}

func attemptOf(a verify.Attempt) sessions.Attempt {
	return sessions.Attempt{Secret: a.Secret(), Base: a.Base(), Timestamp: a.Timestamp(), Count: uint8(a.Count())}
}
