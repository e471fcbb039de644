package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"sallyport/bench/report/chart"
)

//go:embed report.html
var page string

//go:embed report.css
var pageStyle string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"svg": func(p Plot) template.HTML { return chart.Inline(p.Chart) },
}).Parse(page))

// HTML writes the report as a single page without external parts.
func (res Result) HTML(w io.Writer) error { return view{res}.html(w) }

// section is a part of the page about one question.
type section struct {
	Title string
	Plots []Plot
	Table table
}

func (v view) html(w io.Writer) error {
	plots := v.plots()
	pick := func(names ...string) (picked []Plot) {
		for _, name := range names {
			if p, ok := plots[name]; ok {
				picked = append(picked, p)
			}
		}
		return picked
	}
	compared := len(v) > 1
	data := map[string]any{
		"Title": "Sallyport under flood", "Style": template.CSS(chart.CSS + pageStyle),
		"Latest": v.latest(), "Results": v.heads(), "Compared": compared,
		"Findings": v.latest().findings(), "MaxSteal": share(MaxSteal),
		"Curve": pick("curve"), "Goals": pick("goals"), "GoalTable": v.goalTable(),
		"Sections": []section{
			{"Which floods do honest knocks survive?", pick("survival"), v.survivalTable()},
			{"What does a packet cost?", pick("cost"), v.costTable()},
			{"How long does an honest knock wait?", pick("latency", "openings"), v.latencyTable()},
			{"How long does the administrator wait?", nil, v.answerTable()},
			{"How much memory does a server take?", pick("memory"), v.loadTable()},
		},
		"Floods": v.floods(), "Windows": v.windows(), "Counters": v.latest().counters(),
	}
	if compared {
		data["Title"] = "Sallyport under flood, before and after"
		data["Changes"] = v.changes()
	}
	return pageTemplate.Execute(w, data)
}

// head describes a result.
type head struct {
	Name string // "before", "after"; "" if there is only one
	Result
	When string
}

func (v view) heads() (heads []head) {
	for i, res := range v {
		h := head{Result: res, When: res.Time.Format(time.RFC1123)}
		if len(v) > 1 {
			h.Name = []string{"before", "after"}[i]
		}
		heads = append(heads, h)
	}
	return heads
}

// Machine as a sentence's part.
func (m Machine) String() string {
	if m == (Machine{}) {
		return "a machine that the result does not name"
	}
	return fmt.Sprintf("%s, %d cores, %s", m.Processor, m.Cores, m.Kernel)
}
