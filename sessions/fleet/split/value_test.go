package split

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// vectors are the rows of testdata/vectors.json, which another program has written.
func vectors(t testing.TB) (list []struct {
	ID, Comment, Value, Result string
	Kept                       int // how many parts are authentic, and may still be completed
}) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// known are the gateways of the vectors.
var known = map[string]bool{"one": true, "two": true, "three": true}

// TestVectors: each value has the result of its row, and is written again as the same bytes,
// with the same tags.
func TestVectors(t *testing.T) {
	t.Parallel()
	id, now := verifytest.ID("com1"), time.Unix(1_700_000_000, 0)
	p := Policy{Secrets: verifytest.Table(t, verifytest.Clients("com1")...), Ports: 3, Tolerance: time.Minute}
	for _, row := range vectors(t) {
		raw, err := hex.DecodeString(row.Value)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parse(raw)
		if (err != nil) != (row.Result == "malformed") {
			t.Errorf("%s: %v", row.ID, err)
		}
		if err != nil {
			continue
		}
		if !bytes.Equal(v.append(nil), raw) {
			t.Errorf("%s: written as %x", row.ID, v.append(nil))
		}
		kept, forged := v.verified(p, id, known, now)
		n := 0
		for _, a := range kept.attempts {
			for _, x := range a.parts {
				n++
				if tag, ok := p.Secrets.PartTag(id, a.secret, x.tagged(a.name), now.Unix()); !ok || tag != x.tag {
					t.Errorf("%s: this package makes another tag", row.ID)
				}
			}
		}
		if n != row.Kept || (forged > 0) != (row.Result == "forged") {
			t.Errorf("%s: kept %d parts, want %d; forged %d", row.ID, n, row.Kept, forged)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, row := range vectors(f) {
		raw, _ := hex.DecodeString(row.Value)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if v, err := parse(raw); err == nil && !bytes.Equal(v.append(nil), raw) {
			t.Errorf("%x is written as %x", raw, v.append(nil))
		}
	})
}

// TestMerge: whatever parts gateways add in whatever order, a value stays in its bounds and
// in the form that parse accepts; the newest attempts stay; and an attempt is complete exactly
// if each of its knocks is in a part, from sources that the model has, too.
func TestMerge(t *testing.T) {
	t.Parallel()
	names := []string{"one", "two", "three"}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		type knocks = map[int8]bool
		model := map[name]map[string]knocks{} // of all that was added
		sources := map[name][]netip.Addr{}
		var v value
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			of := name{verify.Fingerprint(rapid.IntRange(1, 2).Draw(t, "secret")), uint32(n * rapid.IntRange(0, 5).Draw(t, "attempt")), 7, uint8(n)}
			p := part{
				gateway: rapid.SampledFrom(names).Draw(t, "gateway"),
				address: netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 3).Draw(t, "source"))}),
			}
			list := rapid.SliceOfNDistinct(rapid.Int8Range(0, int8(n-1)), 1, n, rapid.ID).Draw(t, "knocks")
			for _, k := range list {
				p.knocks.set(k)
			}
			_, was := v.find(of)
			next, changed, held := v.with(of, p)
			if !held {
				if was || len(v.attempts) < maxAttempts || v.attempts[0].compare(of) < 0 {
					t.Fatal("a part was refused, and its attempt is not the oldest")
				}
				continue
			}
			if changed == bytes.Equal(next.append(nil), v.append(nil)) {
				t.Fatalf("changed is %t", changed)
			}
			if again, changed, _ := next.with(of, p); changed {
				t.Fatalf("the same part changes the value again: %v", again)
			}
			if !was {
				delete(model, of) // it may have been in the value before, and removed
				delete(sources, of)
			}
			if model[of] == nil {
				model[of] = map[string]knocks{}
			}
			if model[of][p.gateway] == nil {
				model[of][p.gateway] = knocks{}
			}
			for _, k := range list {
				model[of][p.gateway][k] = true
			}
			sources[of] = append(sources[of], p.address)
			v = next
			if parsed, err := parse(v.append(nil)); err != nil || len(parsed.attempts) > maxAttempts {
				t.Fatal(err)
			}
			for _, g := range names {
				from, complete := v.complete(of, g)
				all := map[int8]bool{}
				for _, of := range model[of] {
					for k := range of {
						all[k] = true
					}
				}
				if want := len(all) == n && model[of][g] != nil; complete != want {
					t.Fatalf("complete is %t for %s, want %t", complete, g, want)
				}
				if !complete {
					continue
				}
				// No source is outside the prefix that the gateway finds, whatever its own one is.
				prefix := netip.PrefixFrom(from.address, 32-int(from.differ)).Masked()
				if !slices.Contains(sources[of], from.address) {
					t.Fatal("the address is none of a knock")
				}
				for _, a := range sources[of] {
					if !prefix.Contains(a) {
						t.Fatalf("%s is outside %s", a, prefix)
					}
				}
			}
		}
	})
}
