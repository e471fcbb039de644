package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Compare prints the changes from result a to result b. A change is significant
// if the ranges of the runs do not overlap.
func Compare(w io.Writer, a, b Result) error {
	for _, difference := range [][3]string{
		{"processor", a.Machine.Processor, b.Machine.Processor},
		{"kernel", a.Machine.Kernel, b.Machine.Kernel},
		{"number of cores", fmt.Sprint(a.Machine.Cores), fmt.Sprint(b.Machine.Cores)},
		{"generator", a.Conditions.Generator, b.Conditions.Generator},
		{"receiver of packets", a.Conditions.ReceivePaidBy, b.Conditions.ReceivePaidBy},
		{"window length in seconds", fmt.Sprint(a.Conditions.WindowSeconds), fmt.Sprint(b.Conditions.WindowSeconds)},
	} {
		if difference[1] != difference[2] {
			fmt.Fprintf(w, "the %s differs: %s, then %s\n", difference[0], difference[1], difference[2])
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }
	line("figure", "before", "range", "after", "range", "change", "")
	for _, r := range Ratios {
		x, y := r.Of(a), r.Of(b)
		line(r.Name, x.text(), x.span(), y.text(), y.span(), change(x, y), verdict(x, y, r.AtMost))
	}
	line()
	line("survival in time", "before", "range", "after", "range", "change", "")
	for _, before := range a.Rows {
		for _, after := range b.Rows {
			if before.InTime == nil || after.InTime == nil || before.key() != after.key() {
				continue
			}
			x, y := *before.InTime, *after.InTime
			line(before.key(), x.text(), x.span(), y.text(), y.span(), change(x, y), verdict(x, y, false))
		}
	}
	return t.Flush()
}

func (r Row) key() string { return r.Scenario + " at " + r.Target + ", " + r.Load }

func change(x, y Spread) string {
	if x.Kept == 0 || y.Kept == 0 || x.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("%+.1f %%", 100*(y.Median/x.Median-1))
}

func verdict(x, y Spread, lessIsBetter bool) string {
	switch {
	case x.Kept == 0 || y.Kept == 0:
		return "not measured in both"
	case x.Kept < 3 || y.Kept < 3:
		return "too few runs"
	case y.Min > x.Max && !lessIsBetter, y.Max < x.Min && lessIsBetter:
		return "better"
	case y.Max < x.Min, y.Min > x.Max:
		return "worse"
	default:
		return "no significant change"
	}
}
