package carriers

import (
	"fmt"
	"io"
	"text/tabwriter"

	"sallyport/bench/report"
)

// Count is a number of attempts, and of those that succeeded within their time.
type Count struct {
	All int `json:"all"`
	OK  int `json:"ok"`
}

// Share returns the share that succeeded; 1 if there were none.
func (c Count) Share() float64 {
	if c.All == 0 {
		return 1
	}
	return float64(c.OK) / float64(c.All)
}

// Result is the result of a scenario.
type Result struct {
	Scenario string  `json:"scenario"`
	Beyond   bool    `json:"beyond"`     // beyond the goal: it cannot fail
	Planned  float64 `json:"planned"`    // requests or queries of the flood a second
	Sent     float64 `json:"sent"`       // the same, as sent
	Received float64 `json:"received"`   // requests or queries that the server read, a second
	Exchange Count   `json:"exchanges"`  // proved in time
	Site     Count   `json:"site"`       // visits of the site that got its page
	Knocks   Count   `json:"knocks"`     // by UDP, granted
	P50ms    float64 `json:"p50_ms"`     // until the challenge
	P99ms    float64 `json:"p99_ms"`     // the same
	SiteP99  float64 `json:"site_p99ms"` // until the page of the site
	Refused  float64 `json:"refused"`    // challenges not drawn or not sent, beyond a limit, a second
	Core     float64 `json:"core"`       // of one core, the server
	Before   float64 `json:"memory_before_mib"`
	After    float64 `json:"memory_after_mib"`
	Stolen   float64 `json:"stolen"` // the largest share of a core that other machines took
}

// The limits of a run.
const (
	leastShare = 0.99
	mostGrowth = 32 // MiB: the buffers of 1024 connections, and garbage, are below it
)

// Failure returns the limit that the result exceeds; empty: none.
func (r Result) Failure() string {
	if r.After-r.Before > mostGrowth {
		return fmt.Sprintf("%s: the memory grew from %.1f to %.1f MiB", r.Scenario, r.Before, r.After)
	}
	if r.Beyond || r.Stolen > report.MaxSteal { // losses are not the flood's effect then
		return ""
	}
	for _, c := range []struct {
		what string
		Count
	}{{"exchanges", r.Exchange}, {"visits of the site", r.Site}, {"knocks", r.Knocks}} {
		if c.Share() < leastShare {
			return fmt.Sprintf("%s: %d of %d %s succeeded", r.Scenario, c.OK, c.All, c.what)
		}
	}
	return ""
}

// WriteText writes results as a table.
func WriteText(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "flood\tsent/s\tread/s\texchanges\tin time\tchallenge p50 ms\tp99 ms\tsite\tsite p99 ms\tknocks\t"+
		"refused/s\tserver's core\tMiB before\tafter\tstolen")
	for _, r := range results {
		sent := fmt.Sprintf("%.0f", r.Sent)
		if r.Sent < 0.95*r.Planned {
			sent += fmt.Sprintf(" (planned %.0f)", r.Planned)
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%d\t%.1f %%\t%.2f\t%.2f\t%.1f %%\t%.2f\t%.1f %%\t%.0f\t%.0f %%\t%.1f\t%.1f\t%.0f %%\n",
			r.Scenario, sent, r.Received, r.Exchange.All, 100*r.Exchange.Share(), r.P50ms, r.P99ms,
			100*r.Site.Share(), r.SiteP99, 100*r.Knocks.Share(), r.Refused, 100*r.Core, r.Before, r.After, 100*r.Stolen)
	}
	return t.Flush()
}
