package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"time"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// HTML writes the report as a single page without external parts.
func (res Result) HTML(w io.Writer) error {
	plots, err := res.Plots()
	if err != nil {
		return fmt.Errorf("draw the plots: %w", err)
	}
	return pageTemplate.Execute(w, map[string]any{
		"Result": res, "Time": res.Time.Format(time.RFC1123), "Plots": plots,
		"Figures": res.figures(), "Rows": res.rowTable(), "Openings": res.openingTable(),
		"Counters": res.counters(), "MaxSteal": share(MaxSteal),
	})
}

// figure is a row of the page's first table.
type figure struct {
	Ratio
	Median, Range string
	Runs          int
	Verdict       string
}

func (res Result) figures() (figures []figure) {
	for _, r := range Ratios {
		s := r.Of(res)
		figures = append(figures, figure{r, s.text(), s.span(), s.Kept, r.verdict(s)})
	}
	return figures
}

// rowCounters are the counters of one row.
type rowCounters struct {
	Row   string
	Parts []part
}

type part struct {
	Name string
	N    uint64
}

func (res Result) counters() (all []rowCounters) {
	for _, r := range res.Rows {
		c := rowCounters{Row: r.key()}
		for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
			if n := r.Counters[name]; n > 0 {
				c.Parts = append(c.Parts, part{name, n})
			}
		}
		all = append(all, c)
	}
	return all
}
