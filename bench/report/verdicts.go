package report

import (
	"fmt"
	"strings"
)

// remark is a sentence about a figure, or about several ones, which then has no name.
type remark struct{ Name, Text string }

// howToMeasure completes a list of figures that were not measured.
const howToMeasure = "floodbench run measures all figures if it runs as the host's root and without --quick."

// goals counts the verdicts. Figures without a verdict have one line together.
func (res Result) goals() (summary string, bad, notes []remark) {
	good, judged := 0, 0
	for _, r := range Ratios {
		s := r.Of(res)
		verdict := r.verdict(s)
		switch verdict {
		case reached:
			good++
		case missed:
			bad = append(bad, remark{r.Name, unbroken(r.missed(s, res.reason(r)))})
		case noDifference:
			text := fmt.Sprintf("%s: %s, goal %s. Its %d runs range from %s to %s, which includes 1, so they show no difference. %s",
				r.Title, s.text(), r.Goal(), s.Kept, short(s.Min), short(s.Max), res.reason(r))
			notes = append(notes, remark{r.Name, unbroken(text)})
		default:
			continue
		}
		judged++
	}
	switch {
	case judged == 0:
		summary = "No figure was measured."
	case good == judged:
		summary = fmt.Sprintf("All goals that were measured (%d) are reached.", judged)
	default:
		summary = fmt.Sprintf("%d of %d goals are reached, %d missed.", good, judged, len(bad))
		if n := judged - good - len(bad); n > 0 {
			summary += fmt.Sprintf(" Of %d the runs show no difference.", n)
		}
	}
	for _, text := range sentences(res.unreachedSentence()) {
		notes = append(notes, remark{"", text})
	}
	if names := res.unmeasured(); len(names) > 0 && judged > 0 {
		notes = append(notes, remark{"", fmt.Sprintf("Not measured: %s. %s", strings.Join(names, ", "), howToMeasure)})
	}
	return summary, bad, notes
}

// unmeasured names the figures that the result does not have.
func (res Result) unmeasured() (names []string) {
	for _, r := range Ratios {
		if r.Of(res).Kept == 0 {
			names = append(names, r.Name)
		}
	}
	return names
}
