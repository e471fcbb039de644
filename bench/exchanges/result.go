package exchanges

import (
	"fmt"
	"io"
	"text/tabwriter"

	"sallyport/bench/report"
)

// Result is the result of a scenario.
type Result struct {
	Scenario string  `json:"scenario"`
	Beyond   bool    `json:"beyond"`        // beyond the goal: exchanges may be lost
	Packets  float64 `json:"packets_per_s"` // sent
	Requests float64 `json:"requests_per_s"`
	Honest   int     `json:"honest"`
	Granted  int     `json:"granted"`
	// From the last packet of a request to the challenge, if it arrived.
	P50ms      float64 `json:"challenge_p50_ms"`
	P99ms      float64 `json:"challenge_p99_ms"`
	Challenges float64 `json:"challenges_per_s"`
	Limited    float64 `json:"limited_per_s"`
	Missed     uint64  `json:"kernel_drops"`
	Evicted    uint64  `json:"evicted"`
	Processor  float64 `json:"server_core"` // of one core, with the process that captures
	Before     float64 `json:"memory_before_mib"`
	After      float64 `json:"memory_after_mib"`
	Stolen     float64 `json:"stolen"` // the largest share of a core that other machines took
}

// The limits of a run.
const (
	leastGranted = 0.95
	mostGrowth   = 4 // MiB
)

// Failure returns the limit that the result exceeds; empty: none.
func (r Result) Failure() string {
	beyond := r.Beyond || r.Stolen > report.MaxSteal // losses are not the flood's effect then
	switch {
	case !beyond && float64(r.Granted) < leastGranted*float64(r.Honest):
		return fmt.Sprintf("%s: %d of %d honest exchanges were granted", r.Scenario, r.Granted, r.Honest)
	case r.After-r.Before > mostGrowth:
		return fmt.Sprintf("%s: the server's memory grew from %.1f to %.1f MiB", r.Scenario, r.Before, r.After)
	}
	return ""
}

// WriteText writes results as a table.
func WriteText(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "flood\tpackets/s\trequests/s\thonest\tgranted\tchallenge p50 ms\tp99 ms\t"+
		"challenges/s\tlimited/s\tkernel drops\tevicted\tserver's core\tMiB before\tafter\tstolen")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%d\t%.1f %%\t%.2f\t%.2f\t%.0f\t%.0f\t%d\t%d\t%.0f %%\t%.1f\t%.1f\t%.0f %%\n",
			r.Scenario, r.Packets, r.Requests, r.Honest, 100*float64(r.Granted)/float64(r.Honest), r.P50ms, r.P99ms,
			r.Challenges, r.Limited, r.Missed, r.Evicted, 100*r.Processor, r.Before, r.After, 100*r.Stolen)
	}
	return t.Flush()
}
