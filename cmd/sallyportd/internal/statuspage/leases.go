package statuspage

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
)

const (
	// lineSpan is how much the line has before now, and after it.
	lineSpan = time.Hour
	// maxBars is how many leases are drawn of those in force, and of those that ended.
	maxBars = 100
)

// line are the leases on a line of time.
type line struct {
	Now        int // where it is on the line, in seconds from its begin
	Length     int // of the line
	Begin, End string
	InForce    []leaseBar
	Ended      []leaseBar
	Left       int // leases that are not drawn
	Table      Table
}

// leaseBar is a lease.
type leaseBar struct {
	Service, Client, Peer string
	Time                  string // in words
	State                 string
	Class                 string // "live", "waits" or "ended"
	X, Width              int    // in seconds
}

// leasesOf draws the leases in force, in their order, and then those that ended within
// the line, the latest first.
func leasesOf(h admin.History, leases []admin.Lease, zone *time.Location) line {
	now := h.Now
	p := line{
		Now: int(lineSpan.Seconds()), Length: int(2 * lineSpan.Seconds()),
		Begin: now.Add(-lineSpan).In(zone).Format("15:04"), End: now.Add(lineSpan).In(zone).Format("15:04"),
		Table: Table{Head: []string{"service", "client", "peer", "begin", "end", "state"}},
	}
	clock := func(t time.Time) string {
		if t = t.In(zone); t.Sub(now).Abs() > 20*time.Hour {
			return t.Format("2006-01-02 15:04")
		}
		return t.Format("15:04:05")
	}
	draw := func(l admin.Lease, state, class string) leaseBar {
		b := leaseBar{Service: l.Service, Client: cmp.Or(l.Client, l.Operation), Peer: peerOf(l), State: state, Class: class}
		end, until := now.Add(lineSpan), "until closed"
		if l.Until != nil {
			end, until = *l.Until, clock(*l.Until)
		}
		b.Time = clock(l.Since) + " – " + until
		at := func(t time.Time) int { return min(max(int(t.Sub(now.Add(-lineSpan)).Seconds()), 0), p.Length) }
		b.X = min(at(l.Since), p.Length-1)
		b.Width = max(at(end)-b.X, 1)
		p.Table.Rows = append(p.Table.Rows, []Cell{
			{Text: b.Service}, {Text: b.Client}, {Text: b.Peer}, {Text: clock(l.Since)}, {Text: until}, {Text: state, Attention: class == "waits"},
		})
		return b
	}
	for _, l := range leases {
		if len(p.InForce) == maxBars {
			p.Left++
			continue
		}
		state, class := "in force", "live"
		if l.Waits != "" {
			state, class = "waits: "+l.Waits, "waits"
		} else if !l.InForce {
			state, class = "recorded, not in force", "waits"
		}
		p.InForce = append(p.InForce, draw(l, state, class))
	}
	for _, e := range slices.Backward(h.Ended) {
		if e.Until == nil || e.Until.Before(now.Add(-lineSpan)) {
			continue
		}
		if len(p.Ended) == maxBars {
			p.Left++
			continue
		}
		p.Ended = append(p.Ended, draw(e.Lease, "ended: "+e.Reason, "ended"))
	}
	return p
}

// peerOf returns whom a lease lets in, in words.
func peerOf(l admin.Lease) string {
	text := l.Peer.String()
	switch {
	case l.AnyAddress():
		return "any address, with a proof"
	case l.Peer.Bits() == 0:
		return "anyone"
	case l.Peer.IsSingleIP():
		text = l.Peer.Addr().WithZone(l.Zone).String()
	}
	if l.Port != 0 {
		text += ", port " + strconv.Itoa(int(l.Port))
	}
	return text
}

// number returns a number with a thin space between groups of three digits.
func number(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
