package insider

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Result is the result of a scenario.
type Result struct {
	Scenario  string  `json:"scenario"`
	Firewall  bool    `json:"firewall"` // with firewall services; otherwise only a web service
	Beyond    bool    `json:"beyond"`   // beyond the goal: grants may be late
	Sequences float64 `json:"sequences_per_s"`
	Honest    int     `json:"honest"`
	Granted   int     `json:"granted"`
	// From the last knock to the grant, if there was one.
	P50ms float64 `json:"p50_ms"`
	P99ms float64 `json:"p99_ms"`
	// The server's counters, a second.
	Opened     float64 `json:"opened_per_s"`
	Limited    float64 `json:"limited_per_s"`
	Superseded float64 `json:"superseded_per_s"`
	Unrecorded float64 `json:"unrecorded_per_s"`
	Missed     uint64  `json:"kernel_drops"`
	LogLines   uint64  `json:"log_lines"`
	Processor  float64 `json:"server_core"` // of one core
}

// The goal and the limit of a run. Times depend on the machine, so a slow run does
// not fail: the table shows whether it has reached the goal.
const (
	goalP99ms = 50
	// mostLines is the limit of log lines, in addition to those about the grants of
	// the honest clients.
	mostLines = 500
)

// Share returns the share of the honest clients that were granted.
func (r Result) Share() float64 { return float64(r.Granted) / float64(max(r.Honest, 1)) }

// Failure returns the limit that the result exceeds; empty: none.
func (r Result) Failure() string {
	setup := "without a firewall"
	if r.Firewall {
		setup = "with a firewall"
	}
	lost := r.Missed > 0 // the machine was too busy: lost packets are not the attack's effect
	switch {
	case r.Beyond:
		return ""
	case !lost && r.Granted < r.Honest:
		return fmt.Sprintf("%s, %s: %d of %d honest clients were granted", r.Scenario, setup, r.Granted, r.Honest)
	case r.LogLines > mostLines+2*uint64(r.Honest):
		return fmt.Sprintf("%s, %s: the log grew by %d lines", r.Scenario, setup, r.LogLines)
	}
	return ""
}

// WriteText writes results as a table. The ratios compare with the first result of
// the same setup, which is the one without an attack.
func WriteText(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "attack\tfirewall\tsequences/s\thonest\tgranted\tp50 ms\tp99 ms\tp99 < 50\tp99 ÷ alone\t"+
		"opened/s\tlimited/s\tsuperseded/s\tunrecorded/s\tkernel drops\tlog lines\tserver's core")
	alone := map[bool]Result{}
	for _, r := range results {
		if _, ok := alone[r.Firewall]; !ok {
			alone[r.Firewall] = r
		}
		fmt.Fprintf(t, "%s\t%v\t%.0f\t%d\t%.1f %%\t%.2f\t%.2f\t%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%d\t%d\t%.0f %%\n",
			r.Scenario, r.Firewall, r.Sequences, r.Honest, 100*r.Share(),
			r.P50ms, r.P99ms, reached(r.P99ms), ratio(r.P99ms, alone[r.Firewall].P99ms),
			r.Opened, r.Limited, r.Superseded, r.Unrecorded, r.Missed, r.LogLines, 100*r.Processor)
	}
	return t.Flush()
}

func reached(p99 float64) string {
	if p99 < goalP99ms {
		return "reached"
	}
	return "missed"
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", a/b)
}
