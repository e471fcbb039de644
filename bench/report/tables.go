package report

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// table is a table of the page. Its first column names the row. With few columns it fits
// a narrow screen.
type table struct {
	Head []string
	Rows []tableRow
}

type tableRow struct {
	Name, Sub string
	Class     string // of the name's colour
	Cells     []cell
}

type cell struct {
	Text, Sub, Class string
}

// table makes a row for each row of the results, with a text for each column.
func (v view) table(choose func(Row) bool, cells func(Row) []string, head ...string) table {
	t := table{Head: append([]string{"flood and target"}, head...)}
	for _, same := range v.rows(choose) {
		r := same.any()
		row := tableRow{Name: r.flood(), Sub: strings.TrimSuffix(r.Target+", "+r.load(), ", "), Class: styleOf(r.configuration()).Class()}
		texts := make([][]string, len(head))
		for _, version := range same {
			var now []string
			if version != nil {
				now = cells(*version)
			}
			for i := range texts {
				if now == nil {
					texts[i] = append(texts[i], "–")
				} else {
					texts[i] = append(texts[i], now[i])
				}
			}
		}
		for _, text := range texts {
			row.Cells = append(row.Cells, cell{Text: unbroken(strings.Join(text, " → "))})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (v view) survivalTable() table {
	return v.table(func(r Row) bool { return r.InTime != nil && r.Survival != nil }, func(r Row) []string {
		return []string{r.InTime.share(), r.Survival.share(), rate(r.Offered.Median)}
	}, "within 50 ms", "at all", "offered a second")
}

func (v view) costTable() table {
	return v.table(func(r Row) bool { return r.Kept > 0 }, func(r Row) []string {
		return []string{short(r.cost().Median), short(r.ServerNS.Median), short(r.ReceiveNS.Median)}
	}, "ns a packet", "of it the server", "the kernel's thread")
}

func (v view) latencyTable() table {
	return v.table(func(r Row) bool { return r.Latency != nil }, func(r Row) []string {
		return []string{short(r.Latency.P50), short(r.Latency.P99), short(r.Latency.Max)}
	}, "median ms", "99 % ms", "longest ms")
}

// answerTable is about the admin socket.
func (v view) answerTable() table {
	return v.table(func(r Row) bool { return r.Answers != nil }, func(r Row) []string {
		return []string{short(r.Answers.P50), short(r.Answers.P99), short(r.Answers.Max), strconv.Itoa(r.Asked)}
	}, "median ms", "99 % ms", "longest ms", "requests")
}

func (v view) loadTable() table {
	return v.table(func(Row) bool { return true }, func(r Row) []string {
		return []string{rate(r.Arrived.Median), rate(r.Received.Median), strconv.FormatUint(r.Resident>>20, 10), short(r.LogLines.Median)}
	}, "arrived a second", "received a second", "MiB", "log lines a second")
}

// goalTable has a row for each figure.
func (v view) goalTable() (groups []goalGroup) {
	for _, q := range questions {
		group := goalGroup{Title: q.title}
		for _, r := range v.measured() {
			if !q.about(r) {
				continue
			}
			row := goalRow{Ratio: r, Class: styleOf(r.configuration()).Class()}
			for _, res := range v {
				s := r.Of(res)
				row.Values = append(row.Values, cell{Text: s.text(), Sub: s.spanOfRuns()})
				row.Runs, row.Verdict = s.Kept, r.verdict(s)
			}
			if len(v) > 1 {
				x, y := r.Of(v[0]), r.Of(v[1])
				row.Change = cell{change(x, y), verdict(x, y, r.AtMost), verdictClass(verdict(x, y, r.AtMost))}
			}
			group.Rows = append(group.Rows, row)
		}
		if len(group.Rows) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// measured returns the figures that a result has.
func (v view) measured() []Ratio {
	return slices.DeleteFunc(slices.Clone(Ratios), func(r Ratio) bool {
		return !slices.ContainsFunc(v, func(res Result) bool { return r.Of(res).Kept > 0 })
	})
}

type goalGroup struct {
	Title string
	Rows  []goalRow
}

type goalRow struct {
	Ratio
	Class   string
	Values  []cell // one for each result
	Runs    int
	Verdict string
	Change  cell
}

// windowRow has all windows of a row.
type windowRow struct {
	Name    string
	Figures []part
}

// floods are the kinds of flood, each with its description.
func (v view) floods() (all []part) {
	for _, res := range v {
		for _, r := range res.Rows {
			p := part{r.flood(), r.Title}
			if !slices.Contains(all, p) && p.Text != "" {
				all = append(all, p)
			}
		}
	}
	return all
}

// windows names the windows of a row. A flood can be measured with honest knocks and
// without.
func (r Row) windows() string {
	if r.InTime == nil && r.configuration() != "" {
		return r.key() + ", without honest knocks"
	}
	return r.key()
}

// part is a figure with its values, or a counter.
type part struct{ Name, Text string }

// windows returns the raw figures of all windows.
func (v view) windows() (all []windowRow) {
	for i, res := range v {
		for _, r := range res.Rows {
			w := windowRow{Name: r.windows()}
			if len(v) > 1 {
				w.Name = []string{"before: ", "after: "}[i] + w.Name
			}
			add := func(name string, s *Spread, format func(float64) string) {
				if s != nil && len(s.Runs) > 0 {
					var texts []string
					for _, run := range s.Runs {
						texts = append(texts, format(run))
					}
					w.Figures = append(w.Figures, part{name, strings.Join(texts, ", ")})
				}
			}
			add("offered a second", &r.Offered, rate)
			add("arrived a second", &r.Arrived, rate)
			add("received a second", &r.Received, rate)
			add("within 50 ms", r.InTime, share)
			add("at all", r.Survival, share)
			add("server ns", &r.ServerNS, short)
			add("kernel's thread ns", &r.ReceiveNS, short)
			all = append(all, w)
		}
	}
	return all
}

// counters are the counters of each row, and whether they add up.
func (res Result) counters() (all []windowRow) {
	for _, r := range res.Rows {
		w := windowRow{Name: r.windows()}
		for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
			if n := r.Counters[name]; n > 0 {
				w.Figures = append(w.Figures, part{name, strconv.FormatUint(n, 10)})
			}
		}
		if !r.Sums {
			w.Figures = append(w.Figures, part{"adds up", "no"})
		}
		all = append(all, w)
	}
	return all
}
