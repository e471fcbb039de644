package real

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

func inMS(d time.Duration) string {
	return fmt.Sprint(float64(d.Round(100*time.Microsecond).Microseconds()) / 1000)
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// Text writes the rows as tables, and the curves with a bar for each point.
func (r Result) Text(w io.Writer) error {
	if len(r.Rows) > 0 {
		if err := writeRows(w, r.Rows); err != nil {
			return err
		}
	}
	for _, c := range []Curve{Restarts, Delays, Losses} {
		if err := writeCurve(w, c, r.Points); err != nil {
			return err
		}
	}
	return nil
}

func writeRows(w io.Writer, rows []Row) error {
	fmt.Fprintln(w, `Tables 1 to 3 by sallyportd and "sallyport knock", at 64 kbit/s and a round trip of 100 ms.
exchange: from the first bit of the request until the last packet of the response has arrived, which is the
paper's execution time; median and range. open: until the lease is in force. seen: until the client has the
service's answer. start: from the start of the client's process until the first bit. All but ms in seconds.`)
	table := 0
	var t *tabwriter.Writer
	flush := func() error {
		if t == nil {
			return nil
		}
		return t.Flush()
	}
	for _, r := range rows {
		if r.Table != table {
			if err := flush(); err != nil {
				return err
			}
			table = r.Table
			fmt.Fprintf(w, "\nTable %d\n", table)
			t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "data bits\tscheme\tdelay\tports\tpaper's\tmodel\tline\texchange\trange\topen\tseen\tstart ms\trepeats")
		}
		fmt.Fprintln(t, r.line())
	}
	return flush()
}

func (r Row) line() string {
	delay := ""
	if r.Delay != 0 {
		delay = inMS(r.Delay) + " ms"
	}
	scheme := r.Scheme.String()
	if r.SequenceBits > 0 {
		scheme += fmt.Sprintf(" + %d bits", r.SequenceBits)
	}
	head := fmt.Sprintf("%d\t%s\t%s", r.DataBits, scheme, delay)
	figures := fmt.Sprintf("%s\t%s", inSeconds(r.Paper.Time), inSeconds(r.Model().Time))
	if r.Refused != "" {
		return head + "\trefused\t" + figures + "\t" + r.Refused
	}
	of := func(f func(Times) time.Duration) Spread { return spread(r.Measured, f) }
	e := r.Exchange()
	ports := fmt.Sprintf("%d-%d", r.First, r.Last)
	if r.Shared {
		ports += " shared"
	}
	repeats := fmt.Sprint(len(r.Measured))
	if r.Discarded > 0 {
		repeats += fmt.Sprintf(", %d discarded", r.Discarded)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%.4f\t%.4f to %.4f\t%s\t%s\t%s\t%s", head, ports, figures,
		inSeconds(r.Line), e.Median.Seconds(), e.Least.Seconds(), e.Most.Seconds(),
		inSeconds(of(func(t Times) time.Duration { return t.Open }).Median),
		inSeconds(of(func(t Times) time.Duration { return t.Seen }).Median),
		inMS(of(func(t Times) time.Duration { return t.Start }).Median), repeats)
}
