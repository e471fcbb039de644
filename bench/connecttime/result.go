package connecttime

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The goals: the differences from a plain connection that may remain.
const (
	goalMedian  = 5 * time.Millisecond  // from the last knock, half of all
	goalHighest = 25 * time.Millisecond // 99 of 100
	goalProcess = 15 * time.Millisecond // from the start of the process, half of all
)

// Times are the times of all tries, in the order of the tries.
type Times []time.Duration

// quantile returns the value that a share of the times does not exceed; 0: no times.
func (t Times) quantile(share float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// Median returns the median.
func (t Times) Median() time.Duration { return t.quantile(0.5) }

// P99 returns the 99th percentile.
func (t Times) P99() time.Duration { return t.quantile(0.99) }

// Row is a service of a server, over a link.
type Row struct {
	Link    string
	Server  string
	Service string // type, look, and protocol
	// RoundTrips are those that the client may need beyond the goals: one if a connection
	// has to prove itself, and one for an exchange.
	RoundTrips int
	RoundTrip  time.Duration // of the link
	Plain      Times         // a plain connection
	Knock      Times         // from the last knock or request
	Process    Times         // from the start of the process
}

func (r Row) allowed() time.Duration { return time.Duration(r.RoundTrips) * r.RoundTrip }

// Above returns by how much a time is above the median of the plain connections, without
// the round trips that the client may need.
func (r Row) Above(d time.Duration) time.Duration { return d - r.Plain.Median() - r.allowed() }

// missed returns the goals that a row does not reach, by the names of columns.
func (r Row) missed() (all []string) {
	for _, goal := range []struct {
		column     string
		above, may time.Duration
	}{
		{"p50", r.Above(r.Knock.Median()), goalMedian},
		{"p99", r.Above(r.Knock.P99()), goalHighest},
		{"process p50", r.Above(r.Process.Median()), goalProcess},
	} {
		if goal.above > goal.may {
			all = append(all, goal.column)
		}
	}
	return all
}

// Result is all rows.
type Result struct{ Rows []Row }

// signed is inMS with a sign.
func signed(d time.Duration) string {
	return fmt.Sprintf("%+.1f", float64(d)/float64(time.Millisecond))
}

func inMS(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

// Text writes a table.
func (r Result) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "milliseconds to the first byte\t\t\tplain\tlast knock\tp50\tp99\tprocess\tp50\tgoals")
	link := ""
	for _, row := range r.Rows {
		if row.Link != link {
			link = row.Link
			fmt.Fprintf(t, "%s\t\t\t\t\t\t\t\t\t\n", link)
		}
		verdict := "reached"
		if missed := row.missed(); len(missed) > 0 {
			verdict = "missed: " + strings.Join(missed, ", ")
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Server, row.Service, trips(row.RoundTrips),
			inMS(row.Plain.Median()), inMS(row.Knock.Median()), signed(row.Above(row.Knock.Median())),
			signed(row.Above(row.Knock.P99())), inMS(row.Process.Median()), signed(row.Above(row.Process.Median())), verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, `
p50 and p99 are above the median of plain connections, without the round trips in the third column.
Goals: from the last knock, p50 +%s ms and p99 +%s ms; from the start of the process, p50 +%s ms.
`, inMS(goalMedian), inMS(goalHighest), inMS(goalProcess))
	return err
}

func trips(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "one round trip"
	}
	return fmt.Sprintf("%d round trips", n)
}
