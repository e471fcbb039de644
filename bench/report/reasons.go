package report

import (
	"fmt"
	"strconv"
	"strings"
)

// reason returns why a figure misses its goal, as far as the figures show it.
func (res Result) reason(r Ratio) string {
	if f := reasons[r.Name]; f != nil {
		if text := f(res); text != "" {
			return text
		}
	}
	s := r.Of(res)
	switch best := r.best(s); {
	case res.Conditions.Quick:
		return ""
	case s.Kept < 3:
		return fmt.Sprintf("It was measured only %s, which does not show more than luck.", times(s.Kept))
	case r.Reached(Spread{Median: best, Kept: 1}):
		return fmt.Sprintf("The runs differ by more than is missing: they range from %s to %s.", short(s.Min), short(s.Max))
	default:
		return fmt.Sprintf("None of %d runs reached it; the best has %s.", s.Kept, short(best))
	}
}

// missed is a sentence about a figure that misses its goal.
func (r Ratio) missed(s Spread, reason string) string {
	figure := s.text()
	if figure == short(r.Limit) {
		figure = strconv.FormatFloat(s.Median, 'f', 5, 64)
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s, goal %s. %s", r.Title, figure, r.Goal(), reason))
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (r Ratio) best(s Spread) float64 {
	if r.AtMost {
		return s.Min
	}
	return s.Max
}

// reasons explain figures by other figures of the same result.
var reasons = map[string]func(Result) string{
	"filter_gain": func(res Result) string {
		var all, bare Row
		for _, r := range res.Rows {
			switch {
			case r.Target == "reject-all" && r.Load == usualLoad:
				all = r
			case r.Target == "sink" && r.Load == usualLoad:
				bare = r
			}
		}
		most := all.Arrived.Median / bare.Received.Median
		if !(most > 1 && most < 4) { // 0/0, or the receiver of packets is not the server's core
			return ""
		}
		return fmt.Sprintf("The kernel's work before it reaches a socket sets the limit: a socket that refuses everything takes %s packets a second, a bare receive loop %s. No filter of a socket can gain much more than their ratio, %s.",
			rate(all.Arrived.Median), rate(bare.Received.Median), short(most))
	},
	"survival_badmagic_half": func(res Result) string {
		for _, r := range res.Rows {
			if r.Target != "reject-all" || r.Load != "half of capacity" || r.Offered.Median == 0 {
				continue
			}
			if lost := 1 - r.Arrived.Median/r.Offered.Median; lost >= .001 {
				return fmt.Sprintf("The link itself lost %s of the packets at this rate, even before a socket that refuses everything.",
					share(lost))
			}
		}
		return ""
	},
	"ring_read_vs_sink":        split("sniffed", "ring-sink"),
	"ring_verified_vs_sink":    split("sniffed", "shield-no-shares"),
	"xdp_badmagic_vs_drop_all": func(res Result) string { return res.dropReason(refusable, "shield") },
	"xdp_unknown_vs_drop_all":  func(res Result) string { return res.dropReason("unknown", "shield-million-clients") },
	"survival_xdp":             lost(refusable, "shield", "5 M/s"),
	"survival_ring_badmac_1m":  lost("sniffed", "shield-no-shares", "1 M/s"),
	"survival_others_named_flood": func(res Result) string {
		text := lost("named", "shield", usualLoad)(res)
		named, ok := res.at("named", "shield", usualLoad)
		junk, found := res.at("junk", "shield", usualLoad)
		if text == "" || !ok || !found {
			return text
		}
		return fmt.Sprintf("%s The driver's program took %s packets a second of the flood, and %s of junk.", text, rate(named.Arrived.Median), rate(junk.Arrived.Median))
	},
	"lone_p99": func(res Result) string {
		r, ok := res.at("nothing", "shipped", "idle")
		if !ok || r.Latency == nil {
			return ""
		}
		return fmt.Sprintf("Without the shield the 99th percentile is %s ms on the same machine.", short(r.Latency.P99))
	},
	"survival_own_vs_no_shares": func(res Result) string {
		with, ok := res.at("named-alone", "shield", ownLoad)
		without, found := res.at("named-alone", "shield-no-shares", ownLoad)
		if !ok || !found || !timely(with) || !timely(without) {
			return ""
		}
		return fmt.Sprintf("With shares %s of the client's knocks survive, without shares %s.", with.InTime.shareAndSpan(), without.InTime.shareAndSpan())
	},
	"survival_xdp_vs_plain": func(res Result) string {
		r, ok := res.at(refusable, "no-filter", "5 M/s")
		if !ok || !timely(r) || r.InTime.Median == 0 {
			return ""
		}
		return fmt.Sprintf("With the plain socket %s survive, so %s times would be all of them.",
			share(r.InTime.Median), short(1/r.InTime.Median))
	},
}

// at returns the row of a flood at a target.
func (res Result) at(scenario, target, load string) (Row, bool) {
	for _, r := range res.Rows {
		if r.Scenario == scenario && r.Target == target && r.Load == load && r.Kept > 0 {
			return r, true
		}
	}
	return Row{}, false
}

// split returns a reason that shows who pays for the packets of a row.
func split(scenario, target string) func(Result) string {
	return func(res Result) string {
		r, ok := res.at(scenario, target, usualLoad)
		if !ok {
			return ""
		}
		return fmt.Sprintf("Of %s for a packet, the driver's program and the kernel's thread take %s ns, the process %s ns.",
			nanoseconds(r), short(r.ReceiveNS.Median), short(r.ServerNS.Median))
	}
}

func (res Result) dropReason(scenario, target string) string {
	r, ok := res.at(scenario, target, usualLoad)
	all, found := res.at(scenario, "drop-all", usualLoad)
	if !ok || !found {
		return ""
	}
	return fmt.Sprintf("A packet takes %s with the shield, and %s with a program that drops everything.", nanoseconds(r), nanoseconds(all))
}

// lost returns a reason that shows where the packets of a row were lost.
func lost(scenario, target, load string) func(Result) string {
	return func(res Result) string {
		r, ok := res.at(scenario, target, load)
		if !ok || r.Offered.Median == 0 {
			return ""
		}
		text := fmt.Sprintf("Of the packets at this load, %s were lost before the driver's program", share(max(0, 1-r.Arrived.Median/r.Offered.Median)))
		passed, refused := r.Counters["shield_ring"], r.Counters["shield_full"]+r.Counters["shield_share"]
		if passed+refused > 0 {
			text += fmt.Sprintf("; of those that passed it, %s at the ring", share(float64(refused)/float64(passed+refused)))
		}
		return text + "."
	}
}
