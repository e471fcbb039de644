package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Table prints the result for a terminal.
func (res Result) Table(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d cores, %s\n", res.Machine.Processor, res.Machine.Cores, res.Machine.Kernel)
	c := res.Conditions
	fmt.Fprintf(w, "flood by %s; packets are received by %s\n", c.Generator, c.ReceivePaidBy)
	fmt.Fprintf(w, "%d rounds, windows of %g s (two fifths of that at the highest load, except where honest knocks pass a shield), %d of %d discarded\n\n",
		c.Rounds, c.WindowSeconds, c.ThrownAway, c.Windows)
	for _, table := range [][][]string{res.ratioTable(), res.curveTable(), res.rowTable(), res.answerTable(), res.openingTable()} {
		if table == nil {
			continue
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, line := range table {
			fmt.Fprintln(t, strings.Join(line, "\t"))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if names := res.unmeasured(); len(names) > 0 {
		fmt.Fprintf(w, "not measured: %s\n%s\n", strings.Join(names, ", "), howToMeasure)
	}
	for _, text := range sentences(res.unreachedSentence()) {
		fmt.Fprintln(w, text)
	}
	for _, text := range res.Omitted {
		fmt.Fprintf(w, "left out: %s\n", text)
	}
	return nil
}

// curveTable has a column for each planned rate; curves may lack points.
func (res Result) curveTable() (table [][]string) {
	var planned []float64
	for _, c := range res.Curves {
		for _, p := range c.Points {
			planned = append(planned, p.Planned)
		}
	}
	slices.Sort(planned)
	planned = slices.Compact(planned)
	if len(planned) == 0 {
		return nil
	}
	head := []string{"honest knocks in time", "with"}
	for _, f := range planned {
		head = append(head, rate0(f)+"/s")
	}
	table = append(table, head)
	for _, c := range res.Curves {
		line := []string{plain(c.Scenario), c.name()}
		for _, f := range planned {
			cell := "-"
			for _, p := range c.Points {
				if p.Planned == f && p.Survival.Kept > 0 {
					cell = share(p.Survival.Median)
				}
			}
			line = append(line, cell)
		}
		table = append(table, line)
	}
	return table
}

// answerTable is about the admin socket; nil if no window asked it.
func (res Result) answerTable() (table [][]string) {
	for _, r := range res.Rows {
		if q := r.Answers; q != nil {
			table = append(table, []string{r.Scenario, r.Target, strconv.Itoa(r.Asked), short(q.P50), short(q.P99), short(q.Max)})
		}
	}
	if table == nil {
		return nil
	}
	return append([][]string{{"the admin socket under", "at", "requests", "p50 ms", "p99 ms", "max ms"}}, table...)
}

func (res Result) openingTable() [][]string {
	table := [][]string{{"from the grant to the open service", "times", "p50 ms", "p99 ms", "max ms"}}
	for _, o := range res.Openings {
		q := o.Quantiles
		table = append(table, []string{o.Type, strconv.Itoa(o.Times), short(q.P50), short(q.P99), short(q.Max)})
	}
	return table
}

func (res Result) ratioTable() [][]string {
	table := [][]string{{"figure", "median", "range", "runs", "goal", ""}}
	for _, r := range Ratios {
		if s := r.Of(res); s.Kept > 0 {
			table = append(table, []string{r.Name, s.text(), s.span(), strconv.Itoa(s.Kept), r.Goal(), r.verdict(s)})
		}
	}
	return table
}

func (res Result) rowTable() [][]string {
	table := [][]string{{
		"flood", "target", "load", "offered/s", "arrived/s", "received/s", "in time", "at all",
		"p50 ms", "p99 ms", "max ms", "server ns", "receive ns", "MiB", "log/s", "adds up",
	}}
	for _, r := range res.Rows {
		timely, atAll, p50, p99, most := "", "", "", "", ""
		if r.InTime != nil {
			timely, atAll = r.InTime.share(), r.Survival.share()
		}
		if r.Latency != nil {
			p50, p99, most = short(r.Latency.P50), short(r.Latency.P99), short(r.Latency.Max)
		}
		sums := "yes"
		if !r.Sums {
			sums = "NO"
		}
		if len(r.Counters) <= 2 { // only those of the host
			sums = ""
		}
		table = append(table, []string{
			r.Scenario, r.Target, r.Load, rate(r.Offered.Median), rate(r.Arrived.Median), rate(r.Received.Median),
			timely, atAll, p50, p99, most,
			short(r.ServerNS.Median), short(r.ReceiveNS.Median), strconv.FormatUint(r.Resident>>20, 10),
			short(r.LogLines.Median), sums,
		})
	}
	return table
}

func (s Spread) text() string {
	if s.Kept == 0 {
		return "-"
	}
	return short(s.Median)
}

func (s Spread) share() string {
	if s.Kept == 0 {
		return "-"
	}
	return share(s.Median)
}

func (s Spread) span() string {
	if s.Kept == 0 {
		return "-"
	}
	return short(s.Min) + "–" + short(s.Max)
}

// short formats a number with three significant digits.
func short(f float64) string {
	switch a := math.Abs(f); {
	case a == 0:
		return "0"
	case a >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(f, 'f', 2, 64)
	default:
		return strconv.FormatFloat(f, 'f', 3, 64)
	}
}

func share(f float64) string { return strconv.FormatFloat(100*f, 'f', 1, 64) + " %" }

func rate(f float64) string {
	switch {
	case f >= 1e6:
		return strconv.FormatFloat(f/1e6, 'f', 2, 64) + " M"
	case f >= 1e3:
		return strconv.FormatFloat(f/1e3, 'f', 1, 64) + " k"
	default:
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
}
