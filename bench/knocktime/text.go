package knocktime

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

var titles = map[int]string{
	1: "Table 1: sequence numbers",
	2: "Table 2: differences, or a range for each packet",
	3: "Table 3: enforced delays",
}

// WriteText writes the tables with the arithmetic of each row. Where the paper's
// figures differ from the model's, a mark refers to a note with the reason.
func WriteText(w io.Writer, results []Result) error {
	fmt.Fprintf(w, "%d kbit/s, round trip %s; request %d bits, challenge %d, response %d.\n",
		bitsPerSecond/1000, inMS(roundTrip), 8*requestBytes, 8*challengeBytes, 8*responseBytes)
	fmt.Fprintf(w,
		"A knock is a packet of %d bytes: %s. The challenge is one of %d: %s. One and a half round trips: %s.\n",
		headerBytes, inMS(knockTime), headerBytes+challengeBytes, inMS(challengeTime), inMS(ways))
	var notes []string
	for table := 1; table <= len(titles); table++ {
		fmt.Fprintf(w, "\n%s\n", titles[table])
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "data bits\tsequence bits\tdelay\tports\tpaper's\t"+
			"milliseconds by the model\tseconds\tpaper's\tmeasured")
		for _, r := range results {
			if r.Table != table {
				continue
			}
			mark := ""
			if note := r.note(); note != "" {
				mark = string(rune('a' + len(notes)))
				notes = append(notes, fmt.Sprintf("%s  %s: %s", mark, r, note))
			}
			fmt.Fprintln(t, r.line(mark))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\n"))
	return err
}

func (r Result) line(mark string) string {
	m := r.Model()
	sequence, delay, measured := "", "", "-"
	if m.SequenceBits != 0 {
		sequence = fmt.Sprint(m.SequenceBits)
	}
	if r.Delay != 0 {
		delay = inMS(r.Delay)
	}
	if r.Measured != 0 {
		measured = fmt.Sprintf("%.4f  %+.1f %%", r.Measured.Seconds(), 100*r.difference())
		if r.Off() {
			measured += "  OFF"
		}
	}
	ports, seconds := fmt.Sprint(r.Paper.Range), inSeconds(r.Paper.Time)
	if r.Paper.Range != m.Range {
		ports += " " + mark
	}
	if r.Paper.Time != millisecond(m.Time) {
		seconds += " " + mark
	}
	return strings.Join([]string{
		fmt.Sprint(r.DataBits), sequence, delay, fmt.Sprint(m.Range), ports,
		r.arithmetic(), inSeconds(millisecond(m.Time)), seconds, measured,
	}, "\t")
}

// arithmetic returns the model's calculation with the numbers of the row.
func (r Row) arithmetic() string {
	request, response := r.packets()
	s := fmt.Sprintf("(%d + %d) × %s + %s + %s", request, response, bare(knockTime), bare(challengeTime), bare(ways))
	if r.Delay != 0 {
		s += fmt.Sprintf(" + (%d + %d) × %s", request-1, response-1, bare(r.Delay))
	}
	return s + " = " + bare(r.Model().Time)
}

// note explains why the paper's figures differ from the model's; empty: they do
// not.
func (r Row) note() string {
	m, paper := r.Model(), r.Paper
	request, response := r.packets()
	var notes []string
	if paper.SequenceBits != m.SequenceBits || paper.Range != m.Range {
		notes = append(notes, fmt.Sprintf("%d packets of %d bits hold the %d bits of the response; "+
			"%d sequence bits number 2^%d = %d packets, and 2^(%d + %d) = %d ports are enough; "+
			"the paper has %d bits, for 2^(%d + %d) = %d",
			response, r.DataBits, 8*responseBytes,
			m.SequenceBits, m.SequenceBits, 1<<m.SequenceBits, r.DataBits, m.SequenceBits, m.Range,
			paper.SequenceBits, r.DataBits, paper.SequenceBits, paper.Range))
	}
	if model := millisecond(m.Time); paper.Time != model {
		fewer := 2
		for millisecond(r.takes(fewer+1)) < paper.Time {
			fewer++
		}
		notes = append(notes, fmt.Sprintf("⌈%d / %d⌉ + ⌈%d / %d⌉ = %d + %d packets; %s ms, so %s s; "+
			"no number of packets takes the paper's %s: %d take %s, %d take %s",
			8*requestBytes, r.DataBits, 8*responseBytes, r.DataBits, request, response,
			r.arithmetic(), inSeconds(model), inSeconds(paper.Time),
			fewer, inSeconds(millisecond(r.takes(fewer))), fewer+1, inSeconds(millisecond(r.takes(fewer+1)))))
	}
	return strings.Join(notes, "; ")
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
func inMS(d time.Duration) string      { return bare(d) + " ms" }
func bare(d time.Duration) string      { return fmt.Sprint(float64(d.Microseconds()) / 1000) }
