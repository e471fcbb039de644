package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/bench/looks"
)

// TestLooks: to each probe of a stranger, a hidden port of each look gives the answer of a
// closed port, with the same header bits, or none: before, during and after another
// client's lease. (Resets over IPv6 have no flow label.) No replay of captured knocks is
// answered. "floodbench looks" measures the times of the answers.
func TestLooks(t *testing.T) {
	if !enter(t) {
		return
	}
	results, err := looks.Run(t.Context(), looks.Config{
		Server: filepath.Join(os.Getenv(programs), "server/sallyportd"), Window: 100 * time.Millisecond,
		Progress: func(int, int, string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	silent, answered, replays, scans := 0, 0, 0, 0
	for _, r := range results {
		if f := r.Failure(); f != "" {
			t.Error(f)
		}
		for i, p := range r.Phases {
			if p.Sent == 0 {
				t.Errorf("%+v: nothing was sent %s", r, looks.Phases[i])
			}
		}
		switch {
		case r.Replays != nil:
			replays += r.Replays.Sent
		case r.Scan != nil:
			scans++
		case r.Phases == nil:
		case r.Silent:
			silent++
		case r.Phases[2].Answered > 0:
			answered++
		default:
			t.Errorf("IPv%d, %s, %s: no answer, and expected that of a closed port", r.Family, r.Look, r.Probe)
		}
	}
	// Of each family: six probes over TCP and three over UDP. Without stealth, two looks are
	// silent and two are not, and a knock port is over UDP; with stealth, all are over UDP, and
	// two over TCP. And the echo.
	if silent != 2*(9*2+3)+2*(9*2+3*2) || answered != 2*(9*2+6+1)+2*(6*2+1) || replays == 0 || scans != 4 {
		t.Errorf("%d silent and %d answered rows, %d replays, %d scans", silent, answered, replays, scans)
	}
}
