package proofs

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The goals.
const (
	goalBytes     = 0.97                  // of the bytes a second of the plain proxy
	goalProcessor = 60 * time.Microsecond // more for a connection, its record apart
)

// Sample is a window of one service.
type Sample struct {
	Done      uint64 // connections, or bytes
	Took      time.Duration
	Processor time.Duration // of the server
}

// rate returns how much was done in a second.
func (s Sample) rate() float64 { return float64(s.Done) / s.Took.Seconds() }

// each returns the server's processor time for a connection in microseconds, or for a byte
// in nanoseconds.
func (s Sample) each(bytes bool) float64 {
	unit := time.Microsecond
	if bytes {
		unit = time.Nanosecond
	}
	return float64(s.Processor) / float64(unit) / float64(max(s.Done, 1))
}

// Pair is a window of each service. They were measured one after the other.
type Pair struct{ Plain, Proving Sample }

// Row is a measurement.
type Row struct {
	Name  string
	State string // where the server has its state
	Bytes bool   // Done counts bytes, otherwise connections
	Goal  bool   // a goal applies: no connection has a record of nonces, or a disk, for itself
	Pairs []Pair // that count
	// Discarded are the pairs in which other machines took too much of the processor.
	Discarded int
}

// Spread is a figure over all pairs.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (r Row) over(figure func(Pair) float64) (s Spread) {
	if len(r.Pairs) == 0 {
		return s
	}
	all := make([]float64, len(r.Pairs))
	for i, p := range r.Pairs {
		all[i] = figure(p)
	}
	slices.Sort(all)
	n := len(all)
	return Spread{(all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]}
}

func (r Row) plain() Spread   { return r.over(func(p Pair) float64 { return p.Plain.rate() }) }
func (r Row) proving() Spread { return r.over(func(p Pair) float64 { return p.Proving.rate() }) }
func (r Row) ratio() Spread {
	return r.over(func(p Pair) float64 { return p.Proving.rate() / p.Plain.rate() })
}

// The processor time, as of each.

func (r Row) plainEach() Spread {
	return r.over(func(p Pair) float64 { return p.Plain.each(r.Bytes) })
}
func (r Row) provingEach() Spread {
	return r.over(func(p Pair) float64 { return p.Proving.each(r.Bytes) })
}
func (r Row) more() Spread {
	return r.over(func(p Pair) float64 { return p.Proving.each(r.Bytes) - p.Plain.each(r.Bytes) })
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// verdict returns whether the row reaches its goal; empty: it has none.
func (r Row) verdict() string {
	missed := r.more().Median > micros(goalProcessor)
	switch {
	case !r.Goal:
		return ""
	case len(r.Pairs) == 0:
		return "not measured"
	case r.Bytes:
		missed = r.ratio().Median < goalBytes
	}
	if missed {
		return "missed"
	}
	return "reached"
}

// Result is all rows.
type Result struct{ Rows []Row }

// Text writes two tables.
func (r Result) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "connections\tstate\tplain/s\tproving/s\tratio\trange\tplain µs\tproving µs\tmore\trange\tpairs\tgoal")
	for _, row := range r.Rows {
		if row.Bytes {
			continue
		}
		ratio, more := row.ratio(), row.more()
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f\t%.2f\t%.2f–%.2f\t%.0f\t%.0f\t%+.0f\t%+.0f–%+.0f\t%s\t%s\n", row.Name, row.State,
			row.plain().Median, row.proving().Median, ratio.Median, ratio.Min, ratio.Max,
			row.plainEach().Median, row.provingEach().Median, more.Median, more.Min, more.Max, row.counted(), row.verdict())
	}
	fmt.Fprintln(t, "\t\t\t\t\t\t\t\t\t\t\t")
	fmt.Fprintln(t, "bytes\tstate\tplain MB/s\tproving MB/s\tratio\trange\tplain s/GB\tproving s/GB\tmore\trange\tpairs\tgoal")
	for _, row := range r.Rows {
		if !row.Bytes {
			continue
		}
		ratio, more := row.ratio(), row.more()
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f\t%.3f\t%.2f–%.2f\t%.2f\t%.2f\t%+.2f\t%+.2f–%+.2f\t%s\t%s\n", row.Name, row.State,
			row.plain().Median/1e6, row.proving().Median/1e6, ratio.Median, ratio.Min, ratio.Max,
			row.plainEach().Median, row.provingEach().Median, more.Median, more.Min, more.Max, row.counted(), row.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, `
µs, s/GB: the server's processor time for a connection, for a gigabyte. Goals: at most %.0f µs more for a
connection, its record of nonces on a disk apart; at least %.2f of the bytes a second. A connection that proves
itself takes a round trip more, so that no goal applies to the ratio of connections.
`, micros(goalProcessor), goalBytes)
	return err
}

func (r Row) counted() string {
	var b strings.Builder
	fmt.Fprint(&b, len(r.Pairs))
	if r.Discarded > 0 {
		fmt.Fprintf(&b, " (%d discarded)", r.Discarded)
	}
	return b.String()
}
