package statuspage

import (
	"cmp"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
)

const (
	// hourBars is how many minutes the picture has.
	hourBars = 60
	// maxReasons is how many reasons have a colour; the others share one.
	maxReasons = 5
	// hourHeight is the height of the picture, in its units.
	hourHeight = 100
)

// hour is the picture of refusals.
type hour struct {
	Total, Most uint64 // of all minutes, and in one
	Short       int    // how many minutes the server has run, if these are less than the picture has; else 0
	Bars        []bar
	Legend      []reason
	Table       Table
}

// bar is a part of a minute's bar, in units of the picture.
type bar struct {
	X         int
	Y, Height float64
	Colour    int // 1 to maxReasons; 0: other reasons
}

// reason is a colour of the picture.
type reason struct {
	Name   string
	Total  uint64
	Colour int
}

// hourOf draws the last hour. The newest minute is at the right.
func hourOf(h admin.History, zone *time.Location) (p hour) {
	minutes := h.Minutes[max(len(h.Minutes)-hourBars, 0):]
	if len(minutes) < hourBars {
		p.Short = len(minutes)
	}
	totals := map[string]uint64{}
	sums := make([]uint64, len(minutes))
	for i, m := range minutes {
		for name, n := range m.Refused {
			totals[name] += n
			sums[i] += n
		}
		p.Total, p.Most = p.Total+sums[i], max(p.Most, sums[i])
	}
	var all []reason
	for name, n := range totals {
		all = append(all, reason{Name: name, Total: n})
	}
	slices.SortFunc(all, func(a, b reason) int { return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Name, b.Name)) })
	colours := map[string]int{}
	for i, r := range all[:min(len(all), maxReasons)] {
		r.Colour, colours[r.Name] = i+1, i+1
		p.Legend = append(p.Legend, r)
	}
	if rest := all[len(p.Legend):]; len(rest) > 0 {
		r := reason{Name: "other reasons"}
		for _, other := range rest {
			r.Total += other.Total
		}
		p.Legend = append(p.Legend, r)
	}
	for i, m := range minutes {
		p.Bars = append(p.Bars, stack(hourBars-len(minutes)+i, m.Refused, colours, p.Most)...)
	}
	p.Table = hourTable(minutes, p.Legend, colours, zone)
	return p
}

// stack draws a minute: the most frequent reason of the hour at the bottom, others on top.
func stack(x int, refused map[string]uint64, colours map[string]int, most uint64) (bars []bar) {
	var parts [maxReasons + 1]uint64 // the last one has other reasons
	for name, n := range refused {
		parts[(colours[name]+maxReasons)%(maxReasons+1)] += n
	}
	var below uint64
	for i, n := range parts {
		if n == 0 {
			continue
		}
		below += n
		top := hourHeight * (1 - float64(below)/float64(most))
		bars = append(bars, bar{X: x, Y: top, Height: hourHeight * float64(n) / float64(most), Colour: (i + 1) % (maxReasons + 1)})
	}
	return bars
}

// hourTable has the minutes in which something was refused, the newest first.
func hourTable(minutes []admin.Minute, legend []reason, colours map[string]int, zone *time.Location) Table {
	t := Table{Head: []string{"minute from"}}
	for _, r := range legend {
		t.Head = append(t.Head, r.Name)
	}
	for _, m := range slices.Backward(minutes) {
		if len(m.Refused) == 0 {
			continue
		}
		row := []Cell{{Text: m.Begin.In(zone).Format("15:04:05")}}
		for _, r := range legend {
			var n uint64
			for name, some := range m.Refused {
				if colours[name] == r.Colour {
					n += some
				}
			}
			row = append(row, Cell{Text: number(n)})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
