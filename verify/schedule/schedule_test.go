package schedule

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type row struct {
	ID, Generator string
	PortSecret    string `json:"port_secret"`
	Minute        Minute
	Count         int
	Ports         []uint16
	Error         string
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

func (r row) check(t *testing.T, g Generator) {
	t.Helper()
	got, err := Ports(g, r.PortSecret, r.Minute, r.Count)
	if err != nil || !slices.Equal(got, r.Ports) {
		t.Errorf("%s: minute %d, %d ports: got %v (%v), want %v", g, r.Minute, r.Count, got, err, r.Ports)
	}
}

func TestVectors(t *testing.T) {
	var file struct{ Valid, Invalid []row }
	readJSON(t, "testdata/vectors.json", &file)
	if len(file.Valid) == 0 || len(file.Invalid) == 0 {
		t.Fatal("no vectors")
	}
	for _, r := range file.Valid {
		g, err := ParseGenerator(r.Generator)
		if err != nil {
			t.Fatalf("%s: %v", r.ID, err)
		}
		r.check(t, g)
	}
	for _, r := range file.Invalid {
		g, err := ParseGenerator(r.Generator)
		if got := err != nil; got != (r.Error == "generator") {
			t.Errorf("%s: generator error %v, want %s", r.ID, err, r.Error)
			continue
		}
		if err == nil {
			if ports, err := Ports(g, r.PortSecret, r.Minute, r.Count); err == nil {
				t.Errorf("%s: drew %v", r.ID, ports)
			}
		}
	}
}

func TestFirstImplementation(t *testing.T) {
	var file struct {
		Generator string
		Ports     []row
	}
	readJSON(t, "../testdata/first-implementation.json", &file)
	g, err := ParseGenerator(file.Generator)
	if err != nil || len(file.Ports) != 32 {
		t.Fatalf("generator %v, %d rows", err, len(file.Ports))
	}
	for _, r := range file.Ports {
		r.check(t, g)
	}
}

func TestPortsAreDistinctAndInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SampledFrom([]Generator{Algorithm1, Java}).Draw(t, "generator")
		secret := rapid.String().Draw(t, "secret")
		m := Minute(rapid.Int64Range(0, 71582788).Draw(t, "minute"))
		n := rapid.IntRange(1, MaxPorts).Draw(t, "n")
		ports, err := Ports(g, secret, m, n)
		if err != nil || len(ports) != n {
			t.Fatalf("%d ports, %v", len(ports), err)
		}
		seen := map[uint16]bool{}
		for _, p := range ports {
			if seen[p] || p < MinPort || g == Java && (p == 1025 || p == 65535) {
				t.Fatalf("port %d of %v", p, ports)
			}
			seen[p] = true
		}
		if fewer, _ := Ports(g, secret, m, (n+1)/2); !slices.Equal(fewer, ports[:(n+1)/2]) {
			t.Fatalf("a shorter list is no prefix: %v, %v", fewer, ports)
		}
	})
}

func TestMinute(t *testing.T) {
	for s, want := range map[int64]Minute{-61: -2, -60: -1, -1: -1, 0: 0, 59: 0, 60: 1, 1<<32 - 1: 71582788} {
		if got := MinuteOf(time.Unix(s, 999)); got != want {
			t.Errorf("second %d: minute %d, want %d", s, got, want)
		}
	}
	m := Minute(100)
	for s, want := range map[uint32]bool{5997: false, 5998: true, 6000: true, 6059: true, 6061: true, 6062: false} {
		if got := m.Contains(s, Slack); got != want {
			t.Errorf("timestamp %d with slack: %v", s, got)
		}
	}
	if m.Contains(5999, 0) || !m.Contains(6000, 0) || !m.Contains(6059, 0) || m.Contains(6060, 0) {
		t.Error("bounds without slack")
	}
}

// TestLive holds Live and NextChange to the definition: the ports of a minute
// are open from tolerance before it to tolerance after it.
func TestLive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tolerance := time.Duration(rapid.IntRange(5, 60).Draw(t, "tolerance")) * time.Second
		now := time.Unix(rapid.Int64Range(1e9, 1e9+600).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		var want []Minute
		for m := MinuteOf(now) - 5; m <= MinuteOf(now)+5; m++ {
			opens, closes := m.Start().Add(-tolerance), (m + 1).Start().Add(tolerance)
			if !now.Before(opens) && now.Before(closes) {
				want = append(want, m)
			}
		}
		live := Live(now, tolerance)
		if !slices.Equal(live, want) || len(live) > 3 {
			t.Fatalf("live %v, want %v", live, want)
		}
		next := NextChange(now, tolerance)
		if !next.After(now) || slices.Equal(Live(next, tolerance), live) {
			t.Fatalf("next change %v is none", next)
		}
		if before := next.Add(-1); before.After(now) && !slices.Equal(Live(before, tolerance), live) {
			t.Fatalf("a change before %v", next)
		}
	})
}

func FuzzParseGenerator(f *testing.F) {
	for _, s := range []string{"algorithm1", "java", "", "Java", "pcg"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if g, err := ParseGenerator(s); err == nil && g.String() != s {
			t.Fatalf("%q became %s", s, g)
		}
	})
}
