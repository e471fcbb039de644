package report

import (
	"fmt"
	"maps"
	"slices"
)

// unreachedSentence names the planned rates that the generator did not reach: the figures
// that are named after them are those of a lower rate.
func (res Result) unreachedSentence() string {
	short := map[float64][]float64{} // offered rates, by the planned one
	add := func(planned float64, offered Spread) {
		if offered.Kept > 0 && offered.Median < .95*planned {
			short[planned] = append(short[planned], offered.Median)
		}
	}
	for _, r := range res.Rows {
		add(r.planned(), r.Offered)
	}
	for _, c := range res.Curves {
		for _, p := range c.Points {
			add(p.Planned, p.Offered)
		}
	}
	var parts []string
	for _, planned := range slices.Sorted(maps.Keys(short)) {
		least, most := count(slices.Min(short[planned])), packets(slices.Max(short[planned]))
		if least != count(slices.Max(short[planned])) {
			most = least + " to " + most
		}
		parts = append(parts, fmt.Sprintf("%s where %s were planned", most, count(planned)))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("The generator reached %s. Figures that are named after a planned rate are those of the rate that was reached.", list(parts))
}

// planned returns the number of packets a second that a row's load names; 0: none.
func (r Row) planned() float64 {
	f := 0.0
	if n, _ := fmt.Sscanf(r.Load, "%g M/s", &f); n == 0 {
		return 0
	}
	return f * 1e6
}
