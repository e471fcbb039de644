package report

import (
	"slices"
	"strings"
	"testing"
)

func once(f float64) Spread { return SpreadOf([]float64{f, f, f}) }

// flooded is a row at the highest load.
func flooded(scenario, target, configuration string, survival, server, receive float64) Row {
	timely := once(survival)
	return Row{
		Scenario: scenario, Target: target, Configuration: configuration, Load: usualLoad, Kept: 3,
		Offered: once(4.97e6), Arrived: once(1e6), Received: once(4e5), InTime: &timely, Survival: &timely,
		ServerNS: once(server), ReceiveNS: once(receive), Latency: &Quantiles{.4, 1, 2},
	}
}

func TestFindings(t *testing.T) {
	half := flooded(refusable, "shipped", Filter, .99, 200, 1300)
	half.Load, half.Offered = "half of capacity", once(460e3)
	idle := flooded("nothing", "shipped", Filter, 1, 3e5, 4e4)
	idle.Load, idle.Latency = "idle", &Quantiles{.274, 2.38, 18}
	point := func(f float64) []CurvePoint {
		return []CurvePoint{{1e5, once(1e5), once(1)}, {1e7, once(4.9e6), once(f)}}
	}
	res := Result{
		Ratios: map[string]Spread{"million_vs_hundred": once(1.32), "survival_others_named_flood": once(.96)},
		Rows: []Row{
			flooded(refusable, "no-filter", Socket, .095, 2000, 200), flooded(refusable, "shipped", Filter, .195, 100, 900),
			flooded(refusable, "shield", XDP, .962, 6, 196), flooded("bad-mac", "shipped", Filter, .06, 2250, 250),
			flooded("bad-mac", "shield", XDP, .41, 402, 318), flooded("bad-mac", "sink", "", 0, 1600, 400),
			flooded("junk", "sink", "", 0, 1500, 600), flooded("junk", "shield", XDP, .97, 5, 190), half, idle,
			flooded("bad-mac", "shield-million-clients", XDP, .08, 402, 318), // not the usual target
		},
		Conditions: Conditions{ReceivePaidBy: "the server's core (threaded NAPI)"},
		Curves: []Curve{
			{Socket, "sniffed", "sniffed", point(.068)}, {XDP, "sniffed", "sniffed", point(.41)}, {XDP, refusable, "bad magic", point(.96)},
		},
		Memory: []Series{{"shipped", []float64{0, 1, 2}, []float64{10, 20, 21}}, {"shield", []float64{0, 1}, []float64{10, 10}}},
	}
	f := res.findings()
	got := append(append([]string{f.Lead}, f.Survives...), f.Costs...)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], "\u00a0", " ")
	}
	want := []string{
		"Under 5.0 million packets a second of bad magic on one core, 96.2 % of honest knocks open their service in time with the shield, 19.5 % with the socket's filter and 9.5 % with a plain socket.",
		"At half of the load that the server with the socket's filter can take (460,000 packets a second), 99.0 % survive.",
		"Under up to 4.9 million packets a second that look like knocks, so that only the HMAC shows that they are not, the survivors are: 41.0 % with the shield and 6.8 % with a plain socket.",
		"A flood in the name of one client leaves the other clients 96.0 % of the survival that they have under junk of the same rate.",
		`Of 3 kinds of flood at the highest rate, "bad HMAC" is the hardest for a server with the shield: 41.0 % survive.`,
		"Processor time for a packet with bad magic: 202 ns with the shield, 1000 ns with the socket's filter and 2200 ns with a plain socket. A bare receive loop without any check takes 2100 ns.",
		"A packet whose HMAC must be computed takes 2500 ns, 1.25 times a bare receive loop.",
		"With a million clients a packet takes 1.32 times the time that it takes with a hundred.",
		"Without a flood, a knock has opened its service after 0.274 ms (median; 99th percentile 2.38 ms) with the socket's filter.",
		"The largest change of a server's memory in the second half of the run: +5.0 % (shipped).",
	}
	if !slices.Equal(got, want) {
		t.Errorf("findings:\n%s\nexpected:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	res.Rows[2].Offered, res.Rows[2].Load, res.Conditions.ReceivePaidBy = once(3e6), "5 M/s", "a thread of the kernel, on any core"
	lead := res.lead()
	unequal := "Under a flood of bad magic, 96.2 % of honest knocks open their service in time with the shield (under 3.0 million packets a second), 19.5 % with the socket's filter (under 5.0 million packets a second) and 9.5 %"
	if !strings.HasPrefix(lead, unequal) {
		t.Errorf("lead: %s\nexpected: %s", lead, unequal)
	}
	res.Rows = append(res.Rows, Row{Scenario: "named-alone", Target: "shield", Load: ownLoad, Kept: 3, InTime: &[]Spread{once(.25)}[0]},
		Row{Scenario: "named-one-network", Target: "shield", Load: ownLoad, Kept: 3, Offered: once(2e6), InTime: &[]Spread{once(.98)}[0]})
	own := "That client keeps 98.0 % of its knocks if the flood (2.0 million packets a second) comes from one other network, and 25.0 % if it is spoofed from the network of the client."
	if got := res.ownSentence(); got != own {
		t.Errorf("%s\nexpected: %s", got, own)
	}
	// No figures, no sentence.
	f = (Result{}).findings()
	if f.Lead != "" || f.Survives != nil || f.Costs != nil || f.Missed != nil || f.Reached != "No figure was measured." {
		t.Errorf("of nothing: %+v", f)
	}
}

func TestMissedGoals(t *testing.T) {
	all, bare := flooded("unknown", "reject-all", "", 0, 0, 959), flooded("junk", "sink", "", 0, 1565, 599)
	all.Arrived, bare.Received = once(971e3), once(382e3)
	empty := flooded(refusable, "reject-all", "", 0, 0, 1300)
	empty.Load, empty.Offered, empty.Arrived = "half of capacity", once(4e5), once(398e3)
	res := Result{
		Ratios: map[string]Spread{
			"filter_gain": once(2.06), "survival_badmagic_half": once(.98995), "survival_badmagic": SpreadOf([]float64{.5, .9, 1}),
			"badmac_vs_sink": SpreadOf([]float64{.5, .6, .7}), "read_vs_sink": SpreadOf([]float64{.5}), "filter_vs_reject_all": once(.9),
		},
		LatencyMS: map[string]Spread{"idle_p50": SpreadOf([]float64{.29, .31, .4})},
		Rows:      []Row{all, bare, empty},
	}
	want := map[string]string{
		"filter_gain":            "a socket that refuses everything takes 971.0 k packets a second, a bare receive loop 382.0 k. No filter of a socket can gain much more than their ratio, 2.54.",
		"survival_badmagic_half": ": 0.98995, goal ≥ 0.990. The link itself lost 0.5 % of the packets at this rate",
		"survival_badmagic":      ": 0.900, goal ≥ 0.950. The runs differ by more than is missing: they range from 0.500 to 1.00.",
		"badmac_vs_sink":         "None of 3 runs reached it; the best has 0.700.",
		"read_vs_sink":           "It was measured only once, which does not show more than luck.",
		"idle_p50":               "they range from 0.290 to 0.400.",
	}
	f := res.findings()
	if f.Reached != "1 of 7 goals are reached, 6 missed." || len(f.Missed) != len(want) {
		t.Errorf("%s %d missed", f.Reached, len(f.Missed))
	}
	if len(f.Notes) != 1 || !strings.HasPrefix(f.Notes[0].Text, "Not measured: million_vs_hundred, xdp_badmagic_vs_drop_all, ") {
		t.Errorf("notes: %q", f.Notes)
	}
	for _, m := range f.Missed {
		text := strings.ReplaceAll(m.Text, "\u00a0", " ")
		if want[m.Name] == "" || !strings.Contains(text, want[m.Name]) {
			t.Errorf("%s: %s", m.Name, text)
		}
	}
	// A reason needs its figures, and a quick run shows nothing about speed.
	res.Rows, res.Conditions.Quick = nil, true
	for _, m := range res.findings().Missed {
		if strings.Contains(m.Text, "socket that refuses") || strings.Contains(m.Text, "link") || strings.Contains(m.Text, "luck") {
			t.Errorf("%s: %s", m.Name, m.Text)
		}
	}
	res = Result{Ratios: map[string]Spread{"filter_gain": once(5)}}
	if f := res.findings(); f.Reached != "All goals that were measured (1) are reached." {
		t.Error(f.Reached)
	}
}

// TestNoise checks that a figure of two equal sides is neither reached nor missed if its
// runs differ by more than its sides.
func TestNoise(t *testing.T) {
	for _, row := range []struct {
		name string
		runs []float64
		want string
	}{
		{"survival_own_vs_no_shares", []float64{.8, .9, 1.1}, noDifference},
		{"survival_own_vs_no_shares", []float64{.8, .9, .99}, missed},
		{"survival_own_vs_no_shares", []float64{.7, 1.1}, missed}, // too few
		{"survival_own_vs_no_shares", []float64{.8, .97, 1.1}, reached},
		{"survival_others_named_flood", []float64{.8, .9, 1.1}, missed},
		{"survival_own_one_network", []float64{.8, .9, 1}, ""},
	} {
		r := Ratios[slices.IndexFunc(Ratios, func(r Ratio) bool { return r.Name == row.name })]
		if got := r.verdict(SpreadOf(row.runs)); got != row.want {
			t.Errorf("%s: %v: %q, expected %q", row.name, row.runs, got, row.want)
		}
	}
	res := Result{Ratios: map[string]Spread{"survival_own_vs_no_shares": SpreadOf([]float64{.8, .9, 1.1}), "filter_gain": once(5)}}
	f := res.findings()
	if f.Reached != "1 of 2 goals are reached, 0 missed. Of 1 the runs show no difference." || len(f.Missed) != 0 ||
		f.Notes[0].Name != "survival_own_vs_no_shares" || !strings.Contains(f.Notes[0].Text, "which includes 1") {
		t.Errorf("%+v", f)
	}
}
