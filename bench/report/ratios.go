package report

// Ratio is what one of the figures means.
type Ratio struct {
	Name    string
	Title   string
	Reach   float64 // what is to be reached
	AtMost  bool    // the figure is to be at most that; else at least
	Latency bool    // it is in milliseconds, of Result.LatencyMS
}

// Ratios are all, in the order in which they are told.
var Ratios = []Ratio{
	{Name: "read_vs_sink", Title: "read path on junk, without the filter ÷ bare sink, packets a second", Reach: 0.95},
	{Name: "badmac_vs_sink", Title: "whole path, bad HMAC in a known name ÷ bare sink, packets a second", Reach: 0.75},
	{Name: "filter_vs_reject_all", Title: "the kernel's filter with all rules ÷ one that refuses everything, packets a second", Reach: 0.85},
	{Name: "survival_badmagic", Title: "honest knocks that survive bad magic ÷ what capacity allows", Reach: 0.95},
	{Name: "survival_badmagic_half", Title: "the same at half of capacity", Reach: 0.99},
	{Name: "filter_gain", Title: "survival with the filter ÷ without, at the highest rate", Reach: 4},
	{Name: "million_vs_hundred", Title: "processor time a packet at a million clients ÷ at a hundred", Reach: 2, AtMost: true},
	{Name: "idle_p50", Title: "last knock to open, idle, median, ms", Reach: 0.3, AtMost: true, Latency: true},
	{Name: "half_p99", Title: "last knock to open, half of capacity, 99th percentile, ms", Reach: 5, AtMost: true, Latency: true},
}

// Of finds the figure in a result.
func (r Ratio) Of(res Result) Spread {
	if r.Latency {
		return res.LatencyMS[r.Name]
	}
	return res.Ratios[r.Name]
}

// Reached reports whether a figure is good enough.
func (r Ratio) Reached(s Spread) bool {
	if s.Kept == 0 {
		return false
	}
	if r.AtMost {
		return s.Median <= r.Reach
	}
	return s.Median >= r.Reach
}

func (r Ratio) verdict(s Spread) string {
	switch {
	case s.Kept == 0:
		return "not measured"
	case r.Reached(s):
		return "reached"
	default:
		return "missed"
	}
}

// Goal is what is to be reached, in words.
func (r Ratio) Goal() string {
	if r.AtMost {
		return "≤ " + short(r.Reach)
	}
	return "≥ " + short(r.Reach)
}
