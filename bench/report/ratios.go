package report

// Ratio describes one figure, and its goal.
type Ratio struct {
	Name    string
	Title   string
	Limit   float64 // 0: the figure has no goal
	AtMost  bool    // the figure must be at most Limit; otherwise at least
	Latency bool    // the figure is from Result.LatencyMS, in milliseconds
	// Equal means that both sides of the figure should be equal. If the range of its runs
	// includes 1, it shows no difference.
	Equal bool
}

// Ratios are all figures, in the order of the report.
var Ratios = []Ratio{
	{Name: "read_vs_sink", Title: "packets a second: receive path with junk, without the filter ÷ bare sink", Limit: 0.95},
	{Name: "badmac_vs_sink", Title: "packets a second: whole path with bad HMACs of known clients ÷ bare sink", Limit: 0.75},
	{Name: "filter_vs_reject_all", Title: "packets a second: the kernel's filter with all rules ÷ one that refuses everything", Limit: 0.85},
	{Name: "survival_badmagic", Title: "honest knocks that survive bad magic ÷ the share that the capacity allows", Limit: 0.95},
	{Name: "survival_badmagic_half", Title: "honest knocks that survive bad magic at half of capacity", Limit: 0.99},
	{Name: "filter_gain", Title: "survival with the filter ÷ without, at the highest rate", Limit: 4},
	{Name: "million_vs_hundred", Title: "processor time for a packet: a million clients ÷ a hundred", Limit: 2, AtMost: true},
	{Name: "xdp_badmagic_vs_drop_all", Title: "packets a second of a core: the shield with bad magic ÷ a program that drops everything", Limit: 0.45},
	{Name: "xdp_unknown_vs_drop_all", Title: "packets a second of a core: the shield with a million clients and unknown identifiers ÷ a program that drops everything", Limit: 0.3},
	{Name: "ring_read_vs_sink", Title: "processor time for a packet: from the shield's ring into a batch ÷ bare sink", Limit: 0.35, AtMost: true},
	{Name: "ring_verified_vs_sink", Title: "processor time for a packet: the shield's ring and the whole path, bad HMACs of known clients ÷ bare sink", Limit: 0.55, AtMost: true},
	{Name: "survival_xdp", Title: "honest knocks that survive 5 million packets a second with bad magic with the shield ÷ the share that the capacity allows", Limit: 0.95},
	{Name: "survival_xdp_vs_plain", Title: "survival of honest knocks under 5 million packets a second with bad magic: the shield ÷ a socket without a filter", Limit: 8},
	{Name: "survival_xdp_turn", Title: "survival with the shield under 5 million packets a second with bad magic: at the turn of the minute ÷ at other times", Limit: 0.98},
	{Name: "survival_ring_badmac_1m", Title: "honest knocks that survive a million packets a second with bad HMACs, with the shield, without shares", Limit: 0.97},
	{Name: "survival_others_named_flood", Title: "survival with the shield: all other clients in a flood of one client's name ÷ in junk of the same rate", Limit: 0.95},
	{Name: "survival_own_vs_no_shares", Title: "knocks of the client that a flood names, spoofed from its network: survival with shares ÷ without", Limit: 0.95, Equal: true},
	{Name: "survival_own_one_network", Title: "knocks of the client that a flood names, if the flood comes from one other network: survival with the shield"},
	{Name: "lone_p99", Title: "last knock to open, idle, with the shield, 99th percentile, ms", Limit: 0.5, AtMost: true, Latency: true},
	{Name: "idle_p50", Title: "last knock to open, idle, median, ms", Limit: 0.3, AtMost: true, Latency: true},
	{Name: "half_p99", Title: "last knock to open, half of capacity, 99th percentile, ms", Limit: 5, AtMost: true, Latency: true},
	{Name: "answer_p99", Title: "answers of the admin socket under all floods at the highest rate, 99th percentile, ms", Limit: 50, AtMost: true, Latency: true},
}

// Of returns the figure of a result.
func (r Ratio) Of(res Result) Spread {
	if r.Latency {
		return res.LatencyMS[r.Name]
	}
	return res.Ratios[r.Name]
}

// Reached reports whether a figure reaches its goal.
func (r Ratio) Reached(s Spread) bool {
	if s.Kept == 0 || r.Limit == 0 {
		return false
	}
	if r.AtMost {
		return s.Median <= r.Limit
	}
	return s.Median >= r.Limit
}

// The verdicts on a figure.
const (
	notMeasured  = "not measured"
	reached      = "reached"
	missed       = "missed"
	noDifference = "no difference shown"
)

// verdict returns "" for a figure without a goal.
func (r Ratio) verdict(s Spread) string {
	switch {
	case s.Kept == 0:
		return notMeasured
	case r.Limit == 0:
		return ""
	case r.Reached(s):
		return reached
	case r.Equal && s.Kept > 2 && s.Min <= 1 && s.Max >= 1:
		return noDifference
	default:
		return missed
	}
}

// Goal returns the goal as text.
func (r Ratio) Goal() string {
	if r.Limit == 0 {
		return "–"
	}
	if r.AtMost {
		return "≤ " + short(r.Limit)
	}
	return "≥ " + short(r.Limit)
}
