package grants

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/formattest"
	"sallyport/verify/verifytest"
)

// kept returns the authentic vectors. They are the kept values of each version.
func kept(t *testing.T) (list []vector) {
	t.Helper()
	have := map[byte]bool{}
	for _, v := range vectors(t) {
		if v.Result == "authentic" {
			list, have[v.bytes(t)[offsetVersion]] = append(list, v), true
		}
	}
	for v := byte(1); v <= version; v++ {
		if !have[v] {
			t.Errorf("no vector has version %d", v)
		}
	}
	return list
}

// TestLaterValue: a grant of a later version is refused with its version, that of this
// release, and what to do. TestForged shows that it opens nothing.
func TestLaterValue(t *testing.T) {
	for _, vector := range kept(t) {
		b := vector.bytes(t)
		for _, later := range [][]byte{append([]byte{version + 1}, b[1:]...), append([]byte{version + 1}, append(b[1:], 7)...), {version + 1}} {
			_, err := parseValue(later)
			newer, ok := errors.AsType[*cluster.VersionError](err)
			if !ok || newer.Found != version+1 || newer.Latest != version {
				t.Errorf("%s: %v", vector.ID, err)
			}
		}
	}
}

// TestDamagedValues: no part of an authentic value, and none with a wrong bit, is authentic.
func TestDamagedValues(t *testing.T) {
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	p, now := Policy{Table: table, Ports: 3, Tolerance: 30 * time.Second}, time.Unix(1_700_000_000, 0)
	for _, vector := range kept(t) {
		k, ok := parseKey(vector.Key)
		if !ok {
			t.Fatal(vector.Key)
		}
		formattest.File{Text: vector.bytes(t)}.EachDamage(1, func(text []byte) {
			v, err := parseValue(text)
			if err != nil {
				return
			}
			if _, outcome := authenticate(k, v, p, now); outcome == Opened && !bytes.Equal(text, vector.bytes(t)) {
				t.Errorf("%s: %x is authentic", vector.ID, text)
			}
		})
	}
}
