package fleet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/replay"
)

// vector is a value of a client's key.
type vector struct {
	Comment string   `json:"comment"`
	Value   string   `json:"value"` // hexadecimal
	Valid   bool     `json:"valid"`
	Secret  uint64   `json:"secret,omitempty"` // of the record of which the nonces are
	Stamp   uint32   `json:"stamp,omitempty"`  // of the attempts with the nonces
	Used    []uint32 `json:"used,omitempty"`
	Unused  []uint32 `json:"unused,omitempty"`
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
	if len(list) < 10 {
		t.Fatalf("%d vectors", len(list))
	}
	return list
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		b, err := hex.DecodeString(v.Value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(b)
		if (err == nil) != v.Valid {
			t.Errorf("%s: %v", v.Comment, err)
		}
		if err != nil {
			continue
		}
		for _, list := range []struct {
			nonces []uint32
			unused bool
		}{{v.Used, false}, {v.Unused, true}} {
			for _, n := range list.nonces {
				e := sessions.Entry{Secret: verify.Fingerprint(v.Secret), Base: n, Count: 1, Stamp: v.Stamp}
				if got.unused(&e) != list.unused {
					t.Errorf("%s: nonce %d: want unused %v", v.Comment, n, list.unused)
				}
			}
		}
	}
}

// FuzzParse: a value that is valid has one encoding.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		b, _ := hex.DecodeString(v.Value)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parse(b); err == nil && !bytes.Equal(v.append(nil), b) {
			t.Errorf("%x became %x", b, v.append(nil))
		}
	})
}

// TestRecordsAgainstModel: of any attempts with any secrets, a nonce that was recorded is
// never unused again; the value stays valid and within its size, and contains the one
// before.
func TestRecordsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type nonce struct {
			secret verify.Fingerprint
			n      uint32
		}
		var v value
		used := map[nonce]uint32{} // the stamp
		for range rapid.IntRange(1, 40).Draw(t, "attempts") {
			e := sessions.Entry{
				Secret: verify.Fingerprint(rapid.Uint64Range(1, 12).Draw(t, "secret")), Base: rapid.Uint32Range(0, 600).Draw(t, "base"),
				Count: rapid.Uint8Range(1, 128).Draw(t, "count"), Stamp: rapid.Uint32Range(100, 130).Draw(t, "stamp"),
			}
			free := v.unused(&e)
			for i := range uint32(e.Count) {
				if stamp, is := used[nonce{e.Secret, e.Base + i}]; is && free && stamp == e.Stamp { // a replay
					t.Fatalf("nonce %d of %d is unused again", e.Base+i, e.Secret)
				}
			}
			if !free {
				continue
			}
			before := v
			v = v.with(&e)
			for i := range uint32(e.Count) {
				used[nonce{e.Secret, e.Base + i}] = e.Stamp
			}
			if v.unused(&e) || !v.contains(&before) || before.contains(&v) {
				t.Fatalf("%+v after %+v", v, before)
			}
			if got, err := parse(v.append(nil)); err != nil || !bytes.Equal(got.append(nil), v.append(nil)) {
				t.Fatalf("%+v: %v", v, err)
			}
		}
	})
}

// TestIncompleteAttempts: nonces of knocks whose attempt is not complete stay unused.
func TestIncompleteAttempts(t *testing.T) {
	var w replay.Window
	for _, n := range []uint32{10, 20, 21, 22} { // an attempt at 10 has begun
		w.Accept(n)
	}
	v := value{}.with(&sessions.Entry{Secret: 1, HighestNonce: 22, Ring: w.Ring(), Base: 20, Count: 3})
	if !v.unused(&sessions.Entry{Secret: 1, Base: 10, Count: 3}) || v.unused(&sessions.Entry{Secret: 1, Base: 22, Count: 3}) {
		t.Errorf("%+v", v)
	}
}
