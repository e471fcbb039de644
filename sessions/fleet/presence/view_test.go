package presence

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/fleet/cluster"
)

func whats(list []Difference) (names []string) {
	for _, d := range list {
		names = append(names, d.What)
	}
	return names
}

// TestCompare: each part, the release and the clock are compared; a value that cannot be
// read is a difference by itself.
func TestCompare(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*Seen)
		want   []string
	}{
		"equal":               {func(*Seen) {}, nil},
		"release":             {func(s *Seen) { s.Release = "v2" }, []string{"release"}},
		"a part":              {func(s *Seen) { s.Parts = []Part{{"clients", 6}, {"services", 1 << 63}} }, []string{"clients"}},
		"a missing part":      {func(s *Seen) { s.Parts = s.Parts[:1] }, []string{"services"}},
		"ahead":               {func(s *Seen) { s.Ahead, s.Measured = 3*time.Second, true }, []string{"clock"}},
		"behind":              {func(s *Seen) { s.Ahead, s.Measured = -3*time.Second, true }, []string{"clock"}},
		"a little":            {func(s *Seen) { s.Ahead, s.Measured = time.Second, true }, nil},
		"a slow write":        {func(s *Seen) { s.Ahead, s.Took, s.Measured = -3*time.Second, 2*time.Second, true }, nil},
		"unreadable":          {func(s *Seen) { s.Err = errVersion }, []string{"value"}},
		"another certificate": {func(s *Seen) { s.Expires = time.Time{} }, nil},
	} {
		other := Seen{Name: "b", Info: example}
		row.change(&other)
		if got := whats(Compare(example, other)); !slices.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
	}
}

// TestClock: the clock of a gateway is measured by its writes, of which the least delayed
// of three counts; values of a snapshot and of another process do not.
func TestClock(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	v := newView(func() time.Time { return now }, nil)
	apply := func(run uint64, written time.Time) Seen {
		i := example
		i.Run, i.Written, i.Took = run, written, 0
		v.Apply([]cluster.Change{{Key: "b", Value: i.Append(nil)}})
		all, _ := v.list()
		return all[0]
	}
	v.Begin()
	if s := apply(1, now.Add(-time.Hour)); s.Measured {
		t.Errorf("measured by a snapshot: %v", s.Ahead)
	}
	v.Current(1)
	for i, row := range []struct {
		run         uint64
		ahead, want time.Duration
	}{
		{1, -9 * time.Second, -9 * time.Second}, {1, 0, 0}, {1, -9 * time.Second, 0}, {1, -9 * time.Second, 0},
		{1, -9 * time.Second, -9 * time.Second}, {1, 9 * time.Second, 9 * time.Second}, {2, 0, 0},
	} {
		if s := apply(row.run, now.Add(row.ahead)); s.Ahead != row.want || !s.Measured {
			t.Errorf("%d: got %v, want %v", i, s.Ahead, row.want)
		}
	}
}

// TestViewIsBounded: other names and further gateways take no memory; a snapshot removes
// those that it lacks.
func TestViewIsBounded(t *testing.T) {
	t.Parallel()
	v := newView(time.Now, nil)
	put := func(name string) { v.Apply([]cluster.Change{{Key: name, Value: example.Append(nil)}}) }
	v.Begin()
	for i := range 3 * MaxGateways {
		put(fmt.Sprint("g", i))
	}
	put("a b")
	put(strings.Repeat("x", MaxName+1))
	v.Current(1)
	if all, _ := v.list(); len(all) != MaxGateways {
		t.Errorf("%d gateways", len(all))
	}
	v.Begin()
	put("g1")
	v.Current(2)
	if all, current := v.list(); len(all) != 1 || !current || all[0].Name != "g1" {
		t.Errorf("%+v", all)
	}
	v.Apply([]cluster.Change{{Key: "g1", Deleted: true}})
	if all, _ := v.list(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// TestReport: a difference has a line when it begins and one when it ends, and at most one
// a minute; a gateway that is gone likewise.
func TestReport(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	r := reporter{log: slog.New(slog.NewTextHandler(&log, nil)), known: map[string]*gateway{}}
	other := Seen{Name: "b", Info: example}
	newer := other
	newer.Release = "v2"
	now := time.Unix(1_700_000_000, 0)
	for i, row := range []struct {
		after  time.Duration
		others []Seen
		want   string
	}{
		{0, []Seen{other, {Name: "a", Err: errVersion}}, ""}, // a is this one
		{5 * time.Second, []Seen{newer}, "differs from this one"},
		{5 * time.Second, []Seen{newer}, ""},
		{5 * time.Second, []Seen{other}, ""}, // within a minute
		{5 * time.Second, []Seen{newer}, ""},
		{time.Hour, []Seen{newer}, ""},
		{5 * time.Second, []Seen{other}, "agrees with this one again"},
		{5 * time.Second, nil, "gone from the fleet"},
		{5 * time.Second, nil, ""},
		{time.Hour, []Seen{other}, "back in the fleet"},
	} {
		now = now.Add(row.after)
		log.Reset()
		r.report("a", example, row.others, now)
		lines := 1
		if row.want == "" {
			lines = 0
		}
		if strings.Count(log.String(), "\n") != lines || !strings.Contains(log.String(), row.want) {
			t.Errorf("%d: got %q, want %q", i, log.String(), row.want)
		}
	}
	// A part that changes at all gateways, one after the other.
	r.settle = map[string]time.Duration{"release": 15 * time.Second}
	now = now.Add(time.Hour)
	r.report("a", example, []Seen{other}, now)
	log.Reset()
	for i, row := range []struct {
		other Seen
		lines int
	}{{newer, 0}, {newer, 0}, {other, 0}, {newer, 0}, {newer, 0}, {newer, 0}, {newer, 1}} {
		r.report("a", example, []Seen{row.other}, now)
		if n := strings.Count(log.String(), "\n"); n != row.lines {
			t.Errorf("settling, %d: %d lines: %s", i, n, log.String())
		}
		now = now.Add(5 * time.Second)
	}
	for i := range 3 * MaxGateways {
		r.report("a", example, []Seen{{Name: fmt.Sprint("g", i), Info: example}}, now)
	}
	if len(r.known) > MaxGateways {
		t.Errorf("%d gateways are known", len(r.known))
	}
}

// TestPreferred: names that a user of etcd makes up do not keep those of the configuration
// out.
func TestPreferred(t *testing.T) {
	t.Parallel()
	names := []string{"gateway1", "gateway2"}
	v := newView(time.Now, names)
	for i := range 3 * MaxGateways {
		v.Apply([]cluster.Change{{Key: fmt.Sprintf("a%d", i), Value: example.Append(nil)}})
	}
	for range 2 {
		for _, name := range names {
			v.Apply([]cluster.Change{{Key: name, Value: example.Append(nil)}})
		}
	}
	all, _ := v.list()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s Seen) bool { return s.Name == name }) {
			t.Errorf("%s is not known", name)
		}
	}
	if len(all) != MaxGateways {
		t.Errorf("%d gateways, want %d", len(all), MaxGateways)
	}
}
