package real

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"sallyport/bench/knocktime"
	"sallyport/verify/challenge"
)

const ms = time.Millisecond

func TestWilson(t *testing.T) {
	for _, row := range []struct {
		k, n             int
		share, low, high float64
	}{
		{0, 0, 0, 0, 1},
		{0, 20, 0, 0, 0.1611},
		{20, 20, 1, 0.8389, 1},
		{50, 100, 0.5, 0.4038, 0.5962},
		{3, 100, 0.03, 0.0103, 0.0845},
	} {
		share, low, high := wilson(row.k, row.n)
		for i, pair := range [][2]float64{{share, row.share}, {low, row.low}, {high, row.high}} {
			if math.Abs(pair[0]-pair[1]) > 1e-4 {
				t.Errorf("%d of %d: figure %d is %v, want %v", row.k, row.n, i, pair[0], pair[1])
			}
		}
	}
}

func sample() Result {
	first := knocktime.Rows()[0]
	row := Row{
		Row: first, Scheme: challenge.Sequence, SequenceBits: 4, First: 1, Last: 65535, Shared: true, Line: 243 * ms,
		Measured: []Times{
			{Start: 12 * ms, Exchange: 245 * ms, Open: 246 * ms, Seen: 310 * ms, Process: 380 * ms},
			{Start: 13 * ms, Exchange: 244 * ms, Open: 247 * ms, Seen: 311 * ms, Process: 381 * ms},
			{Start: 14 * ms, Exchange: 300 * ms, Open: 301 * ms, Seen: 371 * ms, Process: 441 * ms},
		},
		Discarded: 1,
	}
	no := row
	no.Refused, no.Measured = "expected fewer ports", nil
	return Result{
		Rows: []Row{row, no},
		Points: []Point{
			{Curve: Restarts, Scheme: challenge.Ranges, Restart: 3, Line: fastName, Network: "a network", Trials: 40, Failed: 10, Opened: 30, Expected: 0.5},
			{Curve: Restarts, Scheme: challenge.Ranges, Line: fastName, Network: "a network", Trials: 40, Opened: 40, Stolen: 0.2},
			{Curve: Delays, Scheme: challenge.Delays, Delay: 500 * time.Microsecond, Line: slowName, Network: "a network", Refused: "expected a delay of 1ms", Expected: 0.25},
			{Curve: Losses, Scheme: challenge.Differences, Line: fastName, Network: "a network", Trials: 40, Failed: 20, Opened: 36, Expected: 0.5, Median: 1500 * ms, P95: 9 * time.Second},
		},
	}
}

// TestFailure: a row fails if it is off, or was not measured although it is deployed.
func TestFailure(t *testing.T) {
	r := sample()
	if f := r.Failures(); f != nil {
		t.Errorf("%q", f)
	}
	off, missing := r.Rows[0], r.Rows[0]
	off.Measured = off.Measured[2:]
	missing.Measured = nil
	r.Rows = []Row{off, missing}
	name := "Table 1, 12 data bits, 4 sequence bits: "
	want := name + "300 ms, expected 243 ms\n" + name + "no exchange succeeded"
	if f := strings.Join(r.Failures(), "\n"); f != want {
		t.Error(f)
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := sample().Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"12         sequence + 4 bits         1-65535 shared  0.243    0.243  0.243  0.2450    0.2440 to 0.3000  0.247  0.311  13        3, 1 discarded\n",
		"12         sequence + 4 bits         refused         0.243    0.243  expected fewer ports",
		"ranges; 1 Mbit/s, 10 ms; a network\n",
		"3        10 of 40  14.2 to 40.2 %  50.0 %     ##########          |\n",
		"none     0 of 40   0.0 to 8.8 %    0.0 %      | (noisy: other machines took 20.0 % of a core)\n",
		"delays; 64 kbit/s, 100 ms; a network\n",
		"0.5 ms  refused        25.0 %               |\n",
		"\nrefused: expected a delay of 1ms\n",
		"20 of 40  35.2 to 64.8 %  50.0 %     ####################|  36 of 40  87.5 %     1.50      9.00",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestJSON(t *testing.T) {
	out, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Rows, Points []map[string]any }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"scheme": "sequence", "sequence_bits": 4., "shared_ports": true} {
		if got := got.Rows[0][key]; got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	if all, ok := got.Rows[0]["exchange_s"].([]any); !ok || len(all) != 3 || all[2] != 0.3 {
		t.Errorf("%v", got.Rows[0])
	}
	for key, want := range map[string]any{"curve": "restarts", "failed_first": 10., "low": 0.1419, "predicted": 0.5} {
		if got := got.Points[0][key]; got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}

func TestSortPoints(t *testing.T) {
	point := func(s challenge.Scheme, restart int, network string) Point {
		return Point{Curve: Restarts, Scheme: s, Restart: restart, Line: fastName, Network: network}
	}
	points := []Point{
		point(challenge.Ranges, 0, "Bennett, two links"), point(challenge.Ranges, 3, "Bennett, two links"),
		point(challenge.Ranges, 20, "Paxson, 2 % reordered"), point(challenge.Differences, 3, "Bennett, two links"),
	}
	sortPoints(points)
	for i, want := range []Point{
		point(challenge.Differences, 3, "Bennett, two links"), point(challenge.Ranges, 20, "Paxson, 2 % reordered"),
		point(challenge.Ranges, 3, "Bennett, two links"), point(challenge.Ranges, 0, "Bennett, two links"),
	} {
		if points[i] != want {
			t.Errorf("%d: %+v", i, points[i])
		}
	}
}
