package prefilter_test

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// TestWiderAcceptsWhatEitherAccepts, for all pairs of rows.
func TestWiderAcceptsWhatEitherAccepts(t *testing.T) {
	rows := prefiltertest.Rows()
	for _, a := range rows {
		for _, b := range rows {
			w := prefilter.Wider(a.Table, b.Table)
			if !w.Covers(a.Table) || !w.Covers(b.Table) {
				t.Errorf("%s and %s: not covered", a.Name, b.Name)
			}
			for _, p := range prefiltertest.Packets() {
				for _, r := range []prefiltertest.Row{a, b} {
					if r.Want(p.Datagram) == verify.Authentic && w.Accepts(r.Port, p.Datagram) != verify.Authentic {
						t.Errorf("%s and %s: %s is refused", a.Name, b.Name, p.Name)
					}
				}
			}
		}
	}
}

// TestCoveringTableAcceptsAll: a table that covers another accepts everything
// that the other accepts.
func TestCoveringTableAcceptsAll(t *testing.T) {
	rows, covered := prefiltertest.Rows(), 0
	for _, a := range rows {
		for _, b := range rows {
			if !a.Table.Covers(b.Table) {
				continue
			}
			covered++
			for _, p := range prefiltertest.Packets() {
				for port := range b.Table.Ports {
					if b.Table.Accepts(port, p.Datagram) == verify.Authentic && a.Table.Accepts(port, p.Datagram) != verify.Authentic {
						t.Errorf("%s covers %s, but not %s", a.Name, b.Name, p.Name)
					}
				}
			}
		}
	}
	if covered <= len(rows) {
		t.Errorf("%d pairs: no row covers another", covered)
	}
}

func TestWiderKeepsTheOrderOfMinutes(t *testing.T) {
	places := rapid.SliceOf(rapid.Custom(func(t *rapid.T) schedule.Place {
		return schedule.Place{Minute: schedule.Minute(rapid.IntRange(0, 3).Draw(t, "minute")), Index: rapid.Int8Range(0, 3).Draw(t, "index")}
	}))
	rapid.Check(t, func(t *rapid.T) {
		table := func() prefilter.Table {
			return prefilter.Table{Ports: map[uint16][]schedule.Place{port: places.Draw(t, "places")}}
		}
		got := prefilter.Wider(table(), table()).Ports[port]
		for i := 1; i < len(got); i++ {
			if a, b := got[i-1], got[i]; a.Minute > b.Minute || a.Minute == b.Minute && a.Index >= b.Index {
				t.Fatalf("%v", got)
			}
		}
	})
}

func TestEnds(t *testing.T) {
	table := prefilter.Table{Tolerance: 20 * time.Second, Ports: map[uint16][]schedule.Place{
		1: {{Minute: minute, Index: 1}}, 2: {{Minute: minute - 1}, {Minute: minute + 1, Index: 2}}, 3: nil,
	}}
	want := map[uint16]time.Time{1: minute.Start().Add(80 * time.Second), 2: minute.Start().Add(140 * time.Second)}
	if got := table.Ends(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := table.Only(func(port uint16) bool { return port != 2 }).Ends(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestLevelNames(t *testing.T) {
	for level, want := range map[prefilter.Level]string{prefilter.None: "none", prefilter.Shape: "shape", prefilter.Clients: "clients", 9: "unknown"} {
		if got := level.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
