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
	for _, text := range differences(a, b) {
		fmt.Fprintln(w, text)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }
	line("figure", "before", "range", "after", "range", "change", "")
	for _, r := range (view{a, b}).measured() {
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

// The verdicts on a change that was measured.
const (
	better    = "better"
	worse     = "worse"
	unchanged = "no significant change"
)

func verdictClass(verdict string) string {
	switch verdict {
	case better:
		return "reached"
	case worse:
		return "missed"
	default:
		return ""
	}
}

func verdict(x, y Spread, lessIsBetter bool) string {
	switch {
	case x.Kept == 0 || y.Kept == 0:
		return "not measured in both"
	case x.Kept < 3 || y.Kept < 3:
		return "too few runs"
	case y.Min > x.Max && !lessIsBetter, y.Max < x.Min && lessIsBetter:
		return better
	case y.Max < x.Min, y.Min > x.Max:
		return worse
	default:
		return unchanged
	}
}

// differences are the conditions that differ, so that the results are hard to compare.
func differences(a, b Result) (texts []string) {
	for _, difference := range [][3]string{
		{"processor", a.Machine.Processor, b.Machine.Processor},
		{"kernel", a.Machine.Kernel, b.Machine.Kernel},
		{"number of cores", fmt.Sprint(a.Machine.Cores), fmt.Sprint(b.Machine.Cores)},
		{"generator", a.Conditions.Generator, b.Conditions.Generator},
		{"receiver of packets", a.Conditions.ReceivePaidBy, b.Conditions.ReceivePaidBy},
		{"window length in seconds", fmt.Sprint(a.Conditions.WindowSeconds), fmt.Sprint(b.Conditions.WindowSeconds)},
	} {
		if difference[1] != difference[2] {
			texts = append(texts, fmt.Sprintf("the %s differs: %s, then %s", difference[0], difference[1], difference[2]))
		}
	}
	return texts
}

// CompareHTML writes the page of two results, with before and after side by side.
func CompareHTML(w io.Writer, before, after Result) error { return view{before, after}.html(w) }

// changes are the sentences at the head of a page with two results.
type changes struct {
	Differences, Better, Worse []string
	Rest                       string
}

func (v view) changes() changes {
	c := changes{Differences: differences(v[0], v[1])}
	same, few := 0, 0
	for _, r := range v.measured() {
		x, y := r.Of(v[0]), r.Of(v[1])
		text := fmt.Sprintf("%s: %s → %s (%s).", r.Title, x.text(), y.text(), change(x, y))
		switch verdict(x, y, r.AtMost) {
		case better:
			c.Better = append(c.Better, text)
		case worse:
			c.Worse = append(c.Worse, text)
		case unchanged:
			same++
		default:
			few++
		}
	}
	if same > 0 {
		c.Rest = fmt.Sprintf("Without a significant change: %d figures, since the ranges of their runs overlap. ", same)
	}
	if few > 0 {
		c.Rest += fmt.Sprintf("Not comparable: %d figures, with too few runs or measured in one result only.", few)
	}
	return c
}
