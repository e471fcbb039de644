package real

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"sallyport/bench/knocktime/line"
	"sallyport/sessions/client"
	"sallyport/verify/challenge"
)

var introductions = map[Curve]string{
	Restarts: `Restarts: the share of exchanges that fail at the first attempt, if the packet numbers restart every k packets
(section 7.2, footnote 5). Algorithm 3: a request of 30 packets, a response of 20. "differences" restarts as in
the paper: a packet must not cross a boundary. "ranges", like "sequence", reads the nearest number.`,
	Delays: `Delays: the share of exchanges that fail at the first attempt, by the delay between packets (Table 3).
Algorithm 2, 8 data bits: a request of 14 packets, a response of 20.`,
	Losses: `Loss and duplicates: the share of exchanges that fail at the first attempt; those that open the service with
the client's three attempts, and how long its process then took. Algorithm 2, 8 data bits. By "sequence" and
"ranges", the client sends its response once more, so only the request and the challenge must arrive at once.`,
}

// barWidth is the width of a bar of 100 %.
const barWidth = 40

func writeCurve(w io.Writer, c Curve, all []Point) error {
	var points []Point
	for _, p := range all {
		if p.Curve == c {
			points = append(points, p)
		}
	}
	if len(points) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n# is the measured share, | the predicted one.\n", introductions[c])
	var last Point
	var t *tabwriter.Writer
	for i, p := range points {
		if i == 0 || p.Line != last.Line || p.group() != last.group() || c != Losses && p.Network != last.Network {
			if t != nil {
				if err := t.Flush(); err != nil {
					return err
				}
			}
			fmt.Fprintf(w, "\n%s\n", p.title())
			t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, p.columns())
		}
		fmt.Fprintln(t, p.cells())
		last = p
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeRefusals(w, points)
}

// writeRefusals writes each reason once.
func writeRefusals(w io.Writer, points []Point) error {
	written := map[string]bool{"": true}
	for _, p := range points {
		if !written[p.Refused] {
			written[p.Refused] = true
			if _, err := fmt.Fprintf(w, "\nrefused: %s\n", p.Refused); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p Point) title() string {
	at := map[string]string{fastName: "1 Mbit/s, 10 ms", slowName: "64 kbit/s, 100 ms"}[p.Line]
	if p.Curve == Losses {
		return at
	}
	return fmt.Sprintf("%s; %s; %s", p.Scheme, at, describe(p.Network))
}

// describe adds to the name of a model what it does to a burst of 20 packets.
func describe(name string) string {
	for _, m := range []line.Model{line.Paxson03, line.Paxson2, line.Bennett, line.LongQueues, line.Jitter} {
		if m.Name == name {
			r := m.Reordering(line.Fast, 20, 5000, seed)
			five := m.Reordering(line.Fast, 5, 5000, seed)
			return fmt.Sprintf("%s (at 1 Mbit/s: %.1f %% of packets, %.0f %% of bursts of 20, %.0f %% of bursts of 5)",
				name, 100*r.Packets, 100*r.Bursts, 100*five.Bursts)
		}
	}
	return name
}

func (p Point) columns() string {
	if p.Curve == Losses {
		return "network\tscheme\tfailed\t95 %\tpredicted\tshare\topened\tpredicted\tmedian s\t95th percentile s"
	}
	return map[Curve]string{Restarts: "restart", Delays: "delay"}[p.Curve] + "\tfailed\t95 %\tpredicted\tshare"
}

func (p Point) cells() string {
	share, low, high := p.Share()
	predicted := percent(p.Expected)
	failed, interval, drawn := fmt.Sprintf("%d of %d", p.Failed, p.Trials),
		fmt.Sprintf("%.1f to %s", 100*low, percent(high)), bar(share, p.Expected)
	if p.Refused != "" {
		failed, interval = "refused", ""
	}
	if noise := p.noise(); noise != "" {
		drawn += fmt.Sprintf(" (noisy: %s)", noise)
	}
	common := strings.Join([]string{failed, interval, predicted, drawn}, "\t")
	switch p.Curve {
	case Losses:
		opened := 1 - math.Pow(p.Expected, client.DefaultAttempts)
		return fmt.Sprintf("%s\t%s\t%s\t%d of %d\t%s\t%.2f\t%.2f", p.Network, p.Scheme, common,
			p.Opened, p.Trials, percent(opened), p.Median.Seconds(), p.P95.Seconds())
	case Delays:
		return inMS(p.Delay) + " ms\t" + common
	}
	restart := "none"
	if p.Restart > 0 {
		restart = fmt.Sprint(p.Restart)
	}
	return restart + "\t" + common
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// bar draws a share, with a mark at the predicted one.
func bar(share, predicted float64) string {
	cells := []byte(strings.Repeat("#", int(math.Round(share*barWidth))) + strings.Repeat(" ", barWidth+1))[:barWidth+1]
	cells[int(math.Round(predicted*barWidth))] = '|'
	return strings.TrimRight(string(cells), " ")
}

func (p Plan) name() string {
	e := p.encoding
	what := fmt.Sprintf("%s, %s", p.curve, e.Scheme)
	switch {
	case e.Scheme == challenge.Delays:
		what += " " + inMS(e.Delay) + " ms"
	case e.Restart != 0:
		what += fmt.Sprintf(" %d", e.Restart)
	}
	return what
}
