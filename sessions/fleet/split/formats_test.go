package split

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/formattest"
	"sallyport/verify/verifytest"
)

// kept returns the authentic vectors. They are the kept values of each version.
func kept(t *testing.T) (list [][]byte) {
	t.Helper()
	have := map[byte]bool{}
	for _, row := range vectors(t) {
		if row.Result != "authentic" {
			continue
		}
		b, err := hex.DecodeString(row.Value)
		if err != nil {
			t.Fatal(err)
		}
		list, have[b[0]] = append(list, b), true
	}
	for v := byte(1); v <= version; v++ {
		if !have[v] {
			t.Errorf("no vector has version %d", v)
		}
	}
	return list
}

// TestLaterValue: parts in a value of a later version complete no attempt. The error has its
// version, that of this release, and what to do.
func TestLaterValue(t *testing.T) {
	var log strings.Builder
	p := Policy{Secrets: verifytest.Table(t, verifytest.Clients("com1")...), Ports: 3, Tolerance: time.Minute}
	s, err := New(Config{
		Gateway: "one", Gateways: []string{"one", "two", "three"}, Cluster: new(cluster.Cluster), Policy: func() Policy { return p },
		Wall: minute.Start, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.complete = func(x sessions.Completed) { t.Errorf("completed %+v", x) }
	for _, b := range kept(t) {
		later := append([]byte{version + 1}, b[1:]...)
		_, err := parse(later)
		newer, ok := errors.AsType[*cluster.VersionError](err)
		if !ok || newer.Found != version+1 || newer.Latest != version {
			t.Errorf("%x: %v", later, err)
		}
		v := s.verified(p, &write{client: verifytest.ID("com1"), found: later, revision: 1}, minute.Start())
		if len(v.attempts) > 0 {
			t.Errorf("%x: %+v", later, v)
		}
	}
	if n := s.Stats()[Malformed]; n == 0 || !strings.Contains(log.String(), "this release reads version 1") {
		t.Errorf("%d are counted; %s", n, log.String())
	}
}

// TestDamagedValues: no part of a value, and none with a wrong bit, has a part of another
// gateway that is authentic, and was not.
func TestDamagedValues(t *testing.T) {
	id, now := verifytest.ID("com1"), time.Unix(1_700_000_000, 0)
	p := Policy{Secrets: verifytest.Table(t, verifytest.Clients("com1")...), Ports: 3, Tolerance: time.Minute}
	for _, b := range kept(t) {
		good, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		was := map[string]bool{}
		for _, a := range good.attempts {
			for _, x := range a.parts {
				was[string(x.tagged(a.name))] = true
			}
		}
		formattest.File{Text: b}.EachDamage(1, func(text []byte) {
			v, err := parse(text)
			if err != nil {
				return
			}
			left, _ := v.verified(p, id, known, now)
			for _, a := range left.attempts {
				for _, x := range a.parts {
					if !was[string(x.tagged(a.name))] {
						t.Errorf("%x: %+v of %+v", text, x, a.name)
					}
				}
			}
		})
	}
}
