package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/knocktime/real"
)

// TestKnocktime: the benchmark of exchanges runs both programs: a row of the paper's
// tables over a slow line, and two points of a curve. Without reordering, clients get
// in; with restarts after three packets, and much reordering, none does.
func TestKnocktime(t *testing.T) {
	if !enter(t) {
		return
	}
	built := os.Getenv(programs)
	rows, plans := real.Quick()
	var steps []string
	result, err := real.Run(t.Context(), real.Config{
		Server: filepath.Join(built, "server/sallyportd"), Client: filepath.Join(built, "client/sallyport"),
		Rows: rows, Rounds: 1, Curves: plans, Trials: 5,
		Progress: func(_, _ int, what string) { steps = append(steps, what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := result.Rows[0]; len(result.Rows) != 1 || r.Refused != "" || len(r.Measured) == 0 || r.First != 1024 {
		t.Errorf("%+v", result.Rows)
	}
	if p := result.Points; len(p) != 2 || p[0].Opened == 0 || p[1].Trials == 0 || p[1].Failed != p[1].Trials {
		t.Errorf("%+v", p)
	}
	var text strings.Builder
	if err := result.Text(&text); err != nil {
		t.Error(err)
	}
	t.Logf("%q\n%s", steps, text.String())
}
