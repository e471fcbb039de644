package proofs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const us = time.Microsecond

// connections returns a pair of windows of a second, with the processor time for each
// connection or byte.
func connections(plain, proving uint64, plainEach, provingEach time.Duration) Pair {
	sample := func(n uint64, each time.Duration) Sample {
		return Sample{Done: n, Took: time.Second, Processor: time.Duration(n) * each}
	}
	return Pair{sample(plain, plainEach), sample(proving, provingEach)}
}

func shortRow() Row {
	return Row{Name: "64 at a time", State: "memory", Goal: true, Pairs: []Pair{
		connections(1000, 700, 100*us, 150*us), connections(1000, 750, 100*us, 160*us), connections(1000, 900, 100*us, 170*us),
	}}
}

func bulkRow() Row {
	return Row{Name: "to the client", State: "memory", Bytes: true, Goal: true, Discarded: 1, Pairs: []Pair{
		connections(1e9, 96e7, 1, 1), connections(2e9, 2e9, 1, 1), connections(1e9, 97e7, 1, 2), connections(1e9, 9e8, 1, 1),
	}}
}

// TestFigures: a ratio and a difference are those of two neighbours, not of the medians.
func TestFigures(t *testing.T) {
	r := shortRow()
	r.Pairs[0].Plain.Done, r.Pairs[0].Plain.Processor = 500, 500*130*us
	if got, want := r.ratio(), (Spread{0.9, 0.75, 1.4}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
	if got, want := r.more(), (Spread{60, 20, 70}); got != want {
		t.Errorf("more %v, want %v", got, want)
	}
	if got, want := r.plain(), (Spread{1000, 500, 1000}); got != want {
		t.Errorf("plain %v, want %v", got, want)
	}
	if got, want := bulkRow().ratio(), (Spread{0.965, 0.9, 1}); got != want {
		t.Errorf("ratio of an even number %v, want %v", got, want)
	}
}

// TestVerdict: each row changes one thing.
func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		row    Row
		change func(*Row)
		want   string
	}{
		"60 µs":         {shortRow(), func(*Row) {}, "reached"},
		"above 60 µs":   {shortRow(), func(r *Row) { r.Pairs[1].Proving.Processor += 750 * us }, "missed"},
		"no goal":       {shortRow(), func(r *Row) { r.Goal = false }, ""},
		"no pair":       {shortRow(), func(r *Row) { r.Pairs = nil }, "not measured"},
		"fewer bytes":   {bulkRow(), func(*Row) {}, "missed"},
		"0.97 of bytes": {bulkRow(), func(r *Row) { r.Pairs[0].Proving.Done = 97e7 }, "reached"},
	} {
		c.change(&c.row)
		if got := c.row.verdict(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := (Result{[]Row{shortRow(), bulkRow()}}).Text(&b); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"64 at a time memory 1000 750 0.75 0.70–0.90 100 160 +60 +50–+70 3 reached",
		"to the client memory 1000 965 0.965 0.90–1.00 1.00 1.00 +0.00 +0.00–+1.00 4 (1 discarded) missed",
	} {
		if !strings.Contains("\n"+strings.Join(lines, "\n"), "\n"+want+"\n") {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(Result{[]Row{shortRow(), bulkRow()}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"rows":[{"name":"64 at a time","state":"memory","unit":"connections","pairs":3,"pairs_discarded":0,` +
		`"plain_per_s":{"median":1000,"min":1000,"max":1000},"proving_per_s":{"median":750,"min":700,"max":900},` +
		`"ratio":{"median":0.75,"min":0.7,"max":0.9},"plain_each":{"median":100,"min":100,"max":100},` +
		`"proving_each":{"median":160,"min":150,"max":170},"more_each":{"median":60,"min":50,"max":70},"goal":"reached"},` +
		`{"name":"to the client","state":"memory","unit":"bytes","pairs":4,"pairs_discarded":1,` +
		`"plain_per_s":{"median":1000000000,"min":1000000000,"max":2000000000},` +
		`"proving_per_s":{"median":965000000,"min":900000000,"max":2000000000},` +
		`"ratio":{"median":0.965,"min":0.9,"max":1},"plain_each":{"median":1,"min":1,"max":1},` +
		`"proving_each":{"median":1,"min":1,"max":2},"more_each":{"median":0,"min":0,"max":1},"goal":"missed"}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
