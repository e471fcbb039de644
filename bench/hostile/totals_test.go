package hostile

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestFailure plants each violation in a piece.
func TestFailure(t *testing.T) {
	good := Class{Name: "bad-magic", Sent: 10, Counters: map[string]uint64{"magic": 9, "kernel": 1}}
	granted, lost, none := good, good, good
	granted.Grants = 1
	lost.Sent = 11
	none.Sent, none.Counters = 0, nil
	for want, class := range map[string]Class{
		"": good, "bad-magic: 1 grants": granted, "bad-magic: nothing was sent": none,
		"bad-magic: 11 sent, 10 counted: map[kernel:1 magic:9]": lost,
	} {
		if got := (Piece{Classes: []Class{good, class}}).Failure(); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

// TestTotals adds two pieces, in two runs.
func TestTotals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "totals.json")
	for range 2 {
		totals, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		totals.Add(Piece{Classes: []Class{
			{Name: "bad-magic", Sent: 10, Counters: map[string]uint64{"magic": 10}},
			{Name: "stale", Sent: 5, Counters: map[string]uint64{"minute": 4, "kernel": 1}},
		}})
		if err := totals.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	totals, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if totals.Datagrams != 30 || totals.Pieces != 2 || totals.Classes["stale"] != 10 || totals.Counters["kernel"] != 2 {
		t.Errorf("%+v", totals)
	}
	var text strings.Builder
	if err := totals.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text.String(), "30 datagrams in 2 pieces, 0 grants\n") {
		t.Error(text.String())
	}
}

// TestKept reads the totals in the repository.
func TestKept(t *testing.T) {
	totals, err := Read("testdata/totals.json")
	if err != nil {
		t.Fatal(err)
	}
	var classes, counters uint64
	for _, n := range totals.Classes {
		classes += n
	}
	for _, n := range totals.Counters {
		counters += n
	}
	whole := classes == totals.Datagrams && counters == totals.Datagrams
	if totals.Datagrams < 1e7 || totals.Grants != 0 || !whole {
		t.Errorf("%d datagrams, %d grants, %d by class, %d by counter: expected at least 10,000,000, and equal sums", totals.Datagrams, totals.Grants, classes, counters)
	}
}
