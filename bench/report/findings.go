package report

import (
	"fmt"
	"math"
	"strings"
)

// findings are the sentences at the head of a page. All are computed from the figures;
// a sentence whose figures are missing is left out.
type findings struct {
	Note     string // a reservation about all of them
	Lead     string
	Survives []string
	Costs    []string
	Reached  string
	Missed   []remark
	Notes    []remark // about the figures that were neither reached nor missed
}

func (res Result) findings() findings {
	f := findings{
		Lead:     unbroken(res.lead()),
		Survives: sentences(res.halfSentence(), res.wellFormedSentence(), res.othersSentence(), res.ownSentence(), res.hardestSentence()),
		Costs:    sentences(res.refusalSentence(), res.wholeSentence(), res.millionSentence(), res.waitSentence(), res.memorySentence()),
	}
	f.Reached, f.Missed, f.Notes = res.goals()
	if res.Conditions.Quick {
		f.Note = "This was a quick run: it shows that everything works, not how fast it is. Each figure is of one short window."
	}
	return f
}

func sentences(all ...string) (kept []string) {
	for _, s := range all {
		if s != "" {
			kept = append(kept, unbroken(s))
		}
	}
	return kept
}

// unbroken keeps units on the line of their numbers.
func unbroken(s string) string {
	return strings.NewReplacer(" %", "\u00a0%", " ns", "\u00a0ns", " ms", "\u00a0ms", "≥ ", "≥\u00a0", "≤ ", "≤\u00a0").Replace(s)
}

// find returns the row of a flood for a configuration, at its usual target.
func (res Result) find(scenario, load, configuration string, ok func(Row) bool) (Row, bool) {
	for _, r := range res.Rows {
		if r.Scenario == scenario && r.Load == load && r.configuration() == configuration &&
			(configuration == "" || r.name() == configurations[orderOf(configuration)].name) && ok(r) {
			return r, true
		}
	}
	return Row{}, false
}

func timely(r Row) bool { return r.InTime != nil && r.InTime.Kept > 0 }

// lead is the survival under bad magic at the highest rate, the best configuration first.
// If the rates differ, each configuration has its rate.
func (res Result) lead() string {
	type at struct {
		row  Row
		with string
	}
	var all []at
	for i := len(configurations) - 1; i >= 0; i-- {
		c := configurations[i]
		r, ok := res.find(refusable, usualLoad, c.key, timely)
		if !ok {
			r, ok = res.find(refusable, "5 M/s", c.key, timely)
		}
		if ok && c.key != "" {
			all = append(all, at{r, "with " + c.long})
		}
	}
	if len(all) == 0 {
		return ""
	}
	least, most := math.Inf(1), 0.0
	for _, a := range all {
		least, most = min(least, a.row.Offered.Median), max(most, a.row.Offered.Median)
	}
	same := most < 1.3*least
	var parts []string
	for i, a := range all {
		text := share(a.row.InTime.Median) + " "
		if i == 0 {
			text += "of honest knocks open their service in time "
		}
		text += a.with
		if !same {
			text += " (under " + packets(a.row.Offered.Median) + ")"
		}
		parts = append(parts, text)
	}
	core := ""
	if strings.HasPrefix(res.Conditions.ReceivePaidBy, "the server's core") {
		core = " on one core"
	}
	if !same {
		return fmt.Sprintf("Under a flood of bad magic%s, %s.", core, list(parts))
	}
	return fmt.Sprintf("Under %s of bad magic%s, %s.", packets(all[0].row.Offered.Median), core, list(parts))
}

func packets(f float64) string { return count(f) + " packets a second" }

func count(f float64) string {
	if f >= 1e6 {
		return fmt.Sprintf("%.1f million", f/1e6)
	}
	return fmt.Sprintf("%.0f,000", f/1e3)
}

func list(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

func (res Result) halfSentence() string {
	r, ok := res.find(refusable, "half of capacity", Filter, timely)
	if !ok {
		return ""
	}
	return fmt.Sprintf("At half of the load that the server with the socket's filter can take (%s), %s survive.",
		packets(r.Offered.Median), share(r.InTime.Median))
}

// wellFormedSentence is about the flood that no tier can refuse.
func (res Result) wellFormedSentence() string {
	var parts []string
	top := 0.0
	for i := len(configurations) - 1; i >= 0; i-- {
		for _, c := range res.Curves {
			points := c.points()
			if c.Scenario == refusable || c.Configuration != configurations[i].key || len(points) == 0 {
				continue
			}
			last := points[len(points)-1]
			top = max(top, last.X)
			parts = append(parts, share(last.Y)+" with "+configurations[i].long)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("Under up to %s that look like knocks, so that only the HMAC shows that they are not, the survivors are: %s.",
		packets(top), list(parts))
}

// ownSentence is about the knocks of the client that a flood names.
func (res Result) ownSentence() string {
	spoofed, ok := res.at("named-alone", "shield", ownLoad)
	one, found := res.at("named-one-network", "shield", ownLoad)
	if !ok || !found || !timely(spoofed) || !timely(one) {
		return ""
	}
	return fmt.Sprintf("That client keeps %s of its knocks if the flood (%s) comes from one other network, and %s if it is spoofed from the network of the client.",
		share(one.InTime.Median), packets(one.Offered.Median), share(spoofed.InTime.Median))
}

// ownLoad is the load of the floods in the name of the only honest client.
const ownLoad = "2 M/s"

func (res Result) othersSentence() string {
	s := res.Ratios["survival_others_named_flood"]
	if s.Kept == 0 {
		return ""
	}
	return fmt.Sprintf("A flood in the name of one client leaves the other clients %s of the survival that they have under junk of the same rate.", share(s.Median))
}

// hardestSentence names the flood of the highest rate that costs most knocks, for the best
// configuration, at its usual targets.
func (res Result) hardestSentence() string {
	for i := len(configurations) - 2; i >= 0; i-- {
		c := configurations[i]
		var hardest Row
		kinds := map[string]bool{}
		for _, r := range res.Rows {
			if r.Load != usualLoad || !timely(r) || r.configuration() != c.key || r.name() != c.name {
				continue
			}
			if len(kinds) == 0 || r.InTime.Median < hardest.InTime.Median {
				hardest = r
			}
			kinds[r.flood()] = true
		}
		if len(kinds) > 2 {
			return fmt.Sprintf("Of %d kinds of flood at the highest rate, %q is the hardest for a server with %s: %s survive.",
				len(kinds), hardest.flood(), c.long, share(hardest.InTime.Median))
		}
	}
	return ""
}
