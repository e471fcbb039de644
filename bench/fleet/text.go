package fleet

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Text writes the result as tables.
func (r Result) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	r.openings(t)
	r.loads(t)
	r.starts(t)
	r.scale(t)
	return t.Flush()
}

func (r Result) openings(t io.Writer) {
	fmt.Fprintln(t, "knock to open, ms\tclients\tspread\tlink\twrite p50\tp50\tp99\twrites\tothers p50\tp99\trequests\topened\tnoise\tgoal")
	for _, o := range r.Openings {
		writes := "–"
		if o.Write != nil && o.Here != nil {
			writes = fmt.Sprintf("%.1f", o.Here.P50/o.Write.P50)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%g\t%s\t%s\t%s\t%s\t%s\t%s\t%.2f\t%d of %d\t%s\t%s\n",
			o.name(), o.Clients, o.spread(), o.Trip, o.Write.p50(), o.Here.p50(), o.Here.p99(), writes, o.Rest.p50(), o.Rest.p99(),
			o.Cost.requests(), o.Opened, o.Tries, o.Noise, r.verdict(o))
	}
}

func (s Setup) name() string {
	switch s.Gateways {
	case 0:
		return "no fleet"
	case 1:
		return "one gateway, one member"
	}
	return fmt.Sprintf("%d gateways, %[1]d members", s.Gateways)
}

func (s Setup) spread() string {
	switch {
	case s.Gateways == 0:
		return "–"
	case s.All:
		return "all"
	}
	return "local"
}

func (s *Spread) p50() string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", s.P50)
}

func (s *Spread) p99() string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", s.P99)
}

func (r Result) verdict(o Opening) string {
	missed := r.missed(o)
	switch {
	case o.goal() == 0 && r.withFewer(o) == nil:
		return ""
	case len(missed) == 0:
		return "reached"
	case o.loud():
		return "missed (noise)"
	}
	return "missed: " + strings.Join(missed, "; ")
}

func (r Result) loads(t io.Writer) {
	if len(r.Loads) == 0 {
		return
	}
	fmt.Fprintln(t, "\nload\tclients\tspread\tgrants/s\trefused/s\tothers/s\tgateways µs\tetcd µs\trequests\treads\twrites\tevents\tbytes sent\treceived\tnoise")
	for _, l := range r.Loads {
		c := l.Cost
		fmt.Fprintf(t, "%s\t%d\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.3f\t%.3f\t%.2f\t%.2f\t%.0f\t%.0f\t%s\n", l.name(), l.Clients, l.spread(),
			l.Grants, l.Failed, l.Carried, l.Gateway, l.Members, c.requests(), c.Reads, c.Writes, c.Events, c.Sent, c.Received, l.Noise)
	}
}

func (r Result) starts(t io.Writer) {
	if len(r.Starts) == 0 {
		return
	}
	fmt.Fprintln(t, "\nstart\tclients\trecords\tserves after s\thas the records after s\tMiB\trequests\tMB read\tMiB of a member\tof its database")
	for _, s := range r.Starts {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.2f\t%.1f\t%.0f\t%.0f\t%.1f\t%.0f\t%.0f\n",
			s.name(), s.Clients, s.Records, s.Ready, s.View, s.MiB, s.Requests, s.Read, s.Member, s.Database)
	}
}
