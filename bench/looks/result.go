package looks

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Result has the answers to one probe, for a family and a look. Look is empty in the results of
// replays and limits.
type Result struct {
	Family int    `json:"family"` // 4 or 6
	Look   string `json:"look,omitempty"`
	Probe  string `json:"probe"`
	Policy string `json:"policy,omitempty"` // of the host: "stealth", or none
	Silent bool   `json:"silent,omitempty"` // the look answers nothing
	// SilentClosed is whether a closed port answers nothing either.
	SilentClosed bool `json:"silent_closed,omitempty"`
	// Phases are those of Phases, in this order.
	Phases []Phase `json:"phases,omitempty"`

	Replays *Replays `json:"replays,omitempty"`
	Limit   *Limit   `json:"limit,omitempty"`
	Scan    *Scan    `json:"scan,omitempty"`
	OffPath *OffPath `json:"off_path,omitempty"`
}

// Phases are the moments at which a stranger looks.
var Phases = []string{"without", "before", "during", "after"}

// Phase has the answers of one moment.
type Phase struct {
	Sent     int      `json:"sent"`
	Answered int      `json:"answered"`
	Kinds    []string `json:"kinds,omitempty"` // of the answers: all header bits
	// Closed are the kinds of the answers of a closed port meanwhile.
	Closed []string `json:"closed,omitempty"`
	// Labels is how many answers had a flow label of IPv6, and ClosedLabels those of
	// the closed port.
	Labels       int `json:"labels,omitempty"`
	ClosedLabels int `json:"closed_labels,omitempty"`
	// ZeroIDs is whether most answers had the identification 0 (IPv4).
	ZeroIDs       bool  `json:"zero_ids,omitempty"`
	ClosedZeroIDs bool  `json:"closed_zero_ids,omitempty"`
	Times         Times `json:"times"`
	ClosedTimes   Times `json:"closed_times"`
	// FromClosed is the distance from the times of the closed port, FromBefore from those
	// of the phase "before", and Chance the bound for both. ClosedFromBefore is that of the
	// closed port: how much the machine has changed meanwhile.
	FromClosed       float64 `json:"from_closed"`
	FromBefore       float64 `json:"from_before"`
	ClosedFromBefore float64 `json:"closed_from_before"`
	Chance           float64 `json:"chance"`
}

// Replays is how many packets answered captured knocks that were sent again.
type Replays struct {
	Sent    int     `json:"sent"`
	PerSec  float64 `json:"per_s"`
	Answers int     `json:"answers"` // packets of the server to the sender
}

// Limit is how many ICMP errors the kernel sends.
type Limit struct {
	Sources int     `json:"sources"`
	Sent    float64 `json:"sent_per_s"`
	Errors  float64 `json:"errors_per_s"`
	// Scan is how many seconds pass until each of the ports from which knock ports are
	// drawn could have answered.
	Scan float64 `json:"scan_s"`
}

// Failure returns the difference that a stranger can see; empty: none. Times cannot fail.
func (r Result) Failure() string {
	name := fmt.Sprintf("IPv%d, %s, %s", r.Family, r.look(), r.Probe)
	if r.Replays != nil && r.Replays.Answers > 0 {
		return fmt.Sprintf("IPv%d: %d packets answered %d replays", r.Family, r.Replays.Answers, r.Replays.Sent)
	}
	if s := r.Scan; s != nil {
		return s.failure(r.Family, r.Policy)
	}
	for i, p := range r.Phases {
		where := name + ", " + Phases[i]
		switch {
		case r.Silent && i > 0 && p.Answered > 0:
			return fmt.Sprintf("%s: %d answers, expected silence: %s", where, p.Answered, p.Kinds)
		case r.SilentClosed && i > 0 && len(p.Closed) > 0:
			return fmt.Sprintf("%s: a closed port answers, expected silence: %s", where, p.Closed)
		case r.Silent && i > 0:
		case !slices.Equal(p.Kinds, p.Closed):
			return fmt.Sprintf("%s: got %s, a closed port has %s", where, p.Kinds, p.Closed)
		case p.ZeroIDs != p.ClosedZeroIDs:
			return fmt.Sprintf("%s: the identification is mostly 0: %t, and that of a closed port: %t", where, p.ZeroIDs, p.ClosedZeroIDs)
		case p.Answered > 0 && p.Answered < p.Sent:
			return fmt.Sprintf("%s: %d of %d probes were answered", where, p.Answered, p.Sent)
		}
	}
	return ""
}

// WriteText prints the results as tables.
func WriteText(out io.Writer, results []Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IP\tlook\tprobe\tanswers w/b/d/a\tas closed\tp50 µs b/d/a\tp90\tp99\tclosed p50/p90/p99\tKS closed b/d/a\tKS before d/a\tclosed\tchance")
	for _, r := range results {
		if r.Phases == nil {
			continue
		}
		all := func(from int, format string, f func(Phase) any) string {
			var list []string
			for _, p := range r.Phases[from:] {
				list = append(list, fmt.Sprintf(format, f(p)))
			}
			return strings.Join(list, "/")
		}
		as := "silent"
		if r.SilentClosed {
			as = "silent, as closed"
		}
		if !r.Silent {
			as = "yes"
			if r.Phases[1].Labels != r.Phases[1].ClosedLabels {
				as = "but for the flow label"
			}
		}
		if r.Failure() != "" {
			as = "NO"
		}
		d := r.Phases[2]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t", r.Family, r.look(), r.Probe, all(0, "%d", func(p Phase) any { return p.Answered }), as)
		if r.Silent || d.Answered == 0 {
			fmt.Fprintln(w, "\t\t\t\t\t\t\t")
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f/%.1f/%.1f\t%s\t%s\t%s\t%.3f\n",
			all(1, "%.1f", func(p Phase) any { return p.Times.P50 }), all(1, "%.1f", func(p Phase) any { return p.Times.P90 }),
			all(1, "%.1f", func(p Phase) any { return p.Times.P99 }),
			d.ClosedTimes.P50, d.ClosedTimes.P90, d.ClosedTimes.P99,
			all(1, "%.3f", func(p Phase) any { return p.FromClosed }), all(2, "%.3f", func(p Phase) any { return p.FromBefore }),
			all(2, "%.3f", func(p Phase) any { return p.ClosedFromBefore }), d.Chance)
	}
	fmt.Fprintln(w)
	for _, r := range results {
		if s := r.Replays; s != nil {
			fmt.Fprintf(w, "IPv%d%s: %d replays of a sequence that has opened, %.0f a second: %d packets came back\n", r.Family, with(r.Policy), s.Sent, s.PerSec, s.Answers)
		}
		if l := r.Limit; l != nil {
			fmt.Fprintf(w, "IPv%d: %.0f datagrams a second to closed ports, from %d addresses: %.1f ICMP errors a second; all ports in %.0f s\n",
				r.Family, l.Sent, l.Sources, l.Errors, l.Scan)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return writeScans(out, results)
}

// look returns the look, with the policy of the host if there is one.
func (r Result) look() string {
	if r.Policy == "" {
		return r.Look
	}
	return r.Policy + ": " + r.Look
}
