package schedule

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type drawnRow struct {
	ID, Service, Error string
	PortSecret         string `json:"port_secret"`
	Minute             Minute
	Range              [2]uint16
	Except             [][2]uint16
	Ports              []uint16
}

func (r drawnRow) drawn() Drawn {
	d := Drawn{Range: Range{r.Range[0], r.Range[1]}}
	for _, e := range r.Except {
		d.Except = append(d.Except, Range{e[0], e[1]})
	}
	return d
}

func TestDrawnVectors(t *testing.T) {
	var file struct{ Valid, Invalid []drawnRow }
	readJSON(t, "testdata/drawn.json", &file)
	if len(file.Valid) == 0 || len(file.Invalid) == 0 {
		t.Fatal("no vectors")
	}
	for _, r := range file.Valid {
		got, err := r.drawn().Ports(r.PortSecret, r.Service, r.Minute)
		if err != nil || !slices.Equal(got[:], r.Ports) {
			t.Errorf("%s: got %v (%v), want %v", r.ID, got, err, r.Ports)
		}
	}
	for _, r := range file.Invalid {
		ports, err := r.drawn().Ports(r.PortSecret, r.Service, r.Minute)
		if err == nil {
			t.Errorf("%s: drew %v", r.ID, ports)
			continue
		}
		rule := "range"
		switch {
		case errors.Is(err, errNoSecret):
			rule = "secret"
		case strings.Contains(err.Error(), "without its exceptions"):
			rule = "free"
		}
		if rule != r.Error {
			t.Errorf("%s: %v breaks the rule %s, want %s", r.ID, err, rule, r.Error)
		}
	}
}

func drawDrawn(t *rapid.T) Drawn {
	first := rapid.Uint16Range(MinPort, math.MaxUint16).Draw(t, "first")
	d := Drawn{Range: Range{first, rapid.Uint16Range(first, math.MaxUint16).Draw(t, "last")}}
	for range rapid.IntRange(0, 6).Draw(t, "exceptions") {
		low := rapid.Uint16().Draw(t, "low")
		d.Except = append(d.Except, Range{low, rapid.Uint16Range(low, math.MaxUint16).Draw(t, "high")})
	}
	return d
}

// TestDrawnPorts: the candidates are distinct ports of the range without its
// exceptions, and only a range with too few ports is an error.
func TestDrawnPorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDrawn(t)
		free := 0
		for p := int(d.First); p <= int(d.Last); p++ {
			if d.Has(uint16(p)) {
				free++
			}
		}
		if got := d.Free(); got != free {
			t.Fatalf("%d ports are free, want %d", got, free)
		}
		last := 0
		for _, r := range d.Ranges() {
			if int(r.First) <= last || r.Last < r.First || !d.Has(r.First) || !d.Has(r.Last) {
				t.Fatalf("ranges %v of %v", d.Ranges(), d)
			}
			last = int(r.Last)
		}
		ports, err := d.Ports("secret", rapid.String().Draw(t, "service"), Minute(rapid.Int64().Draw(t, "minute")))
		if (err == nil) != (free >= Candidates) {
			t.Fatalf("%d ports are free: %v", free, err)
		}
		if err != nil {
			return
		}
		for i, p := range ports {
			if !d.Has(p) || slices.Contains(ports[:i], p) {
				t.Fatalf("port %d of %v, from %v", p, ports, d)
			}
		}
	})
}

// TestDrawnExceptions: a further exception removes its port from the candidates, and
// changes nothing else: both sides agree, even if the exceptions of one are older.
func TestDrawnExceptions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Drawn{Range: Range{10000, 32767}}
		m := Minute(rapid.Int64Range(0, 1e9).Draw(t, "minute"))
		before, err := d.Ports("secret", "web", m)
		if err != nil {
			t.Fatal(err)
		}
		gone := rapid.IntRange(0, Candidates-1).Draw(t, "excepted")
		d.Except = []Range{{before[gone], before[gone]}}
		after, err := d.Ports("secret", "web", m)
		if err != nil || !slices.Equal(after[:Candidates-1], slices.Delete(before[:], gone, gone+1)[:Candidates-1]) {
			t.Fatalf("%v without number %d: %v (%v)", before, gone, after, err)
		}
	})
}

// TestDrawnIsUniform: each port of a small range is drawn equally often.
func TestDrawnIsUniform(t *testing.T) {
	d := Drawn{Range: Range{20000, 20012}, Except: []Range{{20003, 20004}}}
	const minutes = 5500
	first, all := map[uint16]int{}, map[uint16]int{}
	for m := range Minute(minutes) {
		ports, err := d.Ports("secret", "web", m)
		if err != nil {
			t.Fatal(err)
		}
		first[ports[0]]++
		for _, p := range ports {
			all[p]++
		}
	}
	for _, r := range d.Ranges() {
		for p := r.First; p <= r.Last; p++ {
			// Five standard deviations of the number of times.
			if n := first[p]; math.Abs(float64(n)-minutes/11) > 5*math.Sqrt(minutes*(1./11)*(10./11)) {
				t.Errorf("port %d is first in %d of %d minutes", p, n, minutes)
			}
			if n := all[p]; math.Abs(float64(n)-minutes*Candidates/11) > 5*math.Sqrt(minutes*(4./11)*(7./11)) {
				t.Errorf("port %d is a candidate in %d of %d minutes", p, n, minutes)
			}
		}
	}
}

func TestDrawnWithoutKnocks(t *testing.T) {
	d := Drawn{Range: Range{10000, 32767}, Except: []Range{{25565, 25565}}}
	m := Minute(29922120)
	without, err := d.WithoutKnocks(Algorithm1, "secret", m, 100)
	if err != nil || len(d.Except) != 1 {
		t.Fatal(err, d)
	}
	excluded := 0
	for near := m - 2; near <= m+2; near++ {
		ports, err := Ports(Algorithm1, "secret", near, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ports {
			if d.Has(p) && !without.Has(p) {
				excluded++
			} else if d.Has(p) && near >= m-1 && near <= m+1 {
				t.Errorf("port %d of minute %d can be drawn", p, near)
			}
		}
	}
	if excluded == 0 {
		t.Error("no knock port is in the range")
	}
	if _, err := d.WithoutKnocks(Algorithm1, "secret", m, 0); err == nil {
		t.Error("no knocks")
	}
}

func TestSecretNames(t *testing.T) {
	a, again, b := NameOf("a"), NameOf("a"), NameOf("b")
	if a == b || a != again || a == 0 {
		t.Error("a name does not distinguish secrets")
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"1-65535", "80", "10000-32767", "0", "2-1", "-", "", "1-65536", "+1", "01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err != nil {
			return
		}
		if again, err := ParseRange(r.String()); err != nil || again != r || r.First == 0 || r.Last < r.First {
			t.Fatalf("%q became %v", s, r)
		}
	})
}

func BenchmarkDrawnPorts(b *testing.B) {
	d := Drawn{Range: Range{10000, 32767}, Except: []Range{{16384, 30719}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Ports("a secret of 24 characters", "web", 29922120); err != nil {
			b.Fatal(err)
		}
	}
}
