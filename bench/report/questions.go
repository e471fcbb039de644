package report

import "strings"

// question groups the figures of a page.
type question struct {
	short string // in pictures
	title string
	about func(Ratio) bool
}

var questions = []question{
	{"survival", "What survives?", func(r Ratio) bool {
		return !r.Latency && (strings.HasPrefix(r.Name, "survival") || r.Name == "filter_gain")
	}},
	{"cost", "What does it cost?", func(r Ratio) bool {
		return !r.Latency && !strings.HasPrefix(r.Name, "survival") && r.Name != "filter_gain"
	}},
	{"waiting", "How long does an honest knock wait?", func(r Ratio) bool { return r.Latency && r.Name != answerFigure }},
	{"answers", "How long does the administrator wait?", func(r Ratio) bool { return r.Name == answerFigure }},
}

// answerFigure is the figure that is not about knocks.
const answerFigure = "answer_p99"

// configuration returns the configuration that a figure is about.
func (r Ratio) configuration() string {
	for _, part := range []string{"xdp", "ring", "shield", "named", "own", "lone"} {
		if strings.Contains(r.Name, part) {
			return XDP
		}
	}
	if r.Name == "read_vs_sink" {
		return Socket
	}
	return Filter
}
