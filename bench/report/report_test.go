package report

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

func sample() Result {
	spread := func(runs ...float64) Spread { return SpreadOf(runs) }
	timely, atAll := spread(0.3, 0.2, 0.4), spread(0.5)
	res := Result{
		Version: Version, Time: time.Unix(1_800_000_000, 0).UTC(), Command: "floodbench run",
		Machine:    Machine{"A processor", "Linux 6.1", 2},
		Conditions: Conditions{Generator: "sendmmsg", ReceivePaidBy: "the <server's> core", Rounds: 3, WindowSeconds: 1, Windows: 40, ThrownAway: 2},
		Ratios:     map[string]Spread{"read_vs_sink": spread(0.9, 0.97, 0.96), "million_vs_hundred": spread(1.4), "filter_gain": spread()},
		LatencyMS:  map[string]Spread{"idle_p50": spread(0.2), "half_p99": spread(6)},
		Memory:     []Series{{"shipped", []float64{0, 1}, []float64{20 << 20, 21 << 20}}},
		Openings:   []Opening{{"firewall", 300, Quantiles{0.12, 0.4, 2}}},
		Failures:   []string{},
	}
	for _, unfiltered := range []bool{false, true} {
		res.Rows = append(res.Rows, Row{
			Scenario: "bad-magic", Title: "bad magic", Target: "shipped", Unfiltered: unfiltered, Load: "highest", Kept: 3,
			Offered: spread(5e6), Arrived: spread(1e6), Received: spread(12), Honest: 100, InTime: &timely, Survival: &atAll,
			Latency: &Quantiles{0.2, 3, 9}, ServerNS: spread(100), ReceiveNS: spread(500), Resident: 22 << 20,
			Counters: map[string]uint64{"kernel": 5, "magic": 7, "received": 8, "nothing": 0}, Sums: true,
		})
	}
	return res
}

func TestSpread(t *testing.T) {
	s := SpreadOf([]float64{3, math.NaN(), 1, 2, math.Inf(1), 10})
	if s.Median != 2.5 || s.Min != 1 || s.Max != 10 || s.Kept != 4 || len(s.Runs) != 4 {
		t.Errorf("%+v", s)
	}
	if s := SpreadOf(nil); s.Kept != 0 || s.Runs == nil || s.text() != "-" {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestDifferences(t *testing.T) {
	sound := map[string]uint64{"kernel": 10, "socket_filter_refused": 6, "socket_filter_full": 3, "socket_filter_either": 1, "received": 20, "overrun": 1, "magic": 12, "authentic": 7, "session_opened": 3, "session_replay": 4, "state_failures": 99, "log_left_out": 5}
	if d := Differences(sound, 35, 5); d != "" {
		t.Errorf("sound: %s", d)
	}
	for name, want := range map[string]string{
		"kernel": "arrived: 35, of which 36 are accounted for; kernel: 11, of which 10", "socket_filter_full": "kernel: 10, of which 11", "magic": "received: 20, of which 21", "session_opened": "authentic: 7, of which 8",
	} {
		wrong := Since(sound, nil)
		wrong[name]++
		if d := Differences(wrong, 35, 5); !strings.Contains(d, want) {
			t.Errorf("one more in %s: %q", name, d)
		}
	}
	if d := Since(sound, map[string]uint64{"magic": 2})["magic"]; d != 10 {
		t.Errorf("grown by %d", d)
	}
}

func TestReadWhatWasWritten(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"ratios"`, `"latency_ms"`, `"runs_kept": 3`, `"median": 0.96`, `"processor"`, `"kernel"`, `"cores"`} {
		if !strings.Contains(b.String(), key) {
			t.Errorf("no %s in %s", key, &b)
		}
	}
	res, err := Read(&b)
	if err != nil || res.Ratios["read_vs_sink"].Median != 0.96 || len(res.Rows) != 2 {
		t.Errorf("%+v, %v", res, err)
	}
	for _, text := range []string{"", "{}", "no JSON", `{"version": 99}`} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q is a result", text)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	res := sample()
	res.Curves = []Curve{
		{Socket, refusable, "bad magic", []CurvePoint{{1e5, once(1e5), once(1)}, {1e7, once(5e6), once(.095)}}},
		{XDP, "sniffed", "sniffed", []CurvePoint{{1e5, once(1e5), once(1)}, {3e5, once(3e5), Spread{}}}},
	}
	res.Omitted = []string{"the shield: no privilege"}
	res.Rows[0].Asked, res.Rows[0].Answers = 17, &Quantiles{0.7, 21, 30}
	if err := res.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"honest knocks in time with 100 k/s 300 k/s 10 M/s", "bad magic socket 100.0 % - 9.5 %", "sniffed shield (ring) 100.0 % - -",
		"left out: the shield: no privilege",
		"A processor, 2 cores, Linux 6.1", "2 of 40 discarded",
		"read_vs_sink 0.960 0.900–0.970 3 ≥ 0.950 reached", "half_p99 6.00 6.00–6.00 1 ≤ 5.00 missed",
		"not measured: badmac_vs_sink, filter_vs_reject_all, survival_badmagic, survival_badmagic_half, filter_gain, xdp_badmagic_vs_drop_all,", howToMeasure,
		"10.0 million were planned",
		"firewall 300 0.120 0.400 2.00", "bad-magic shipped 17 0.700 21.0 30.0",
		"bad-magic shipped highest 5.00 M 1.00 M 12 30.0 % 50.0 % 0.200 3.00 9.00 100 500 22 0 yes",
	} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), line) {
			t.Errorf("no %q in\n%s", line, &b)
		}
	}
}

func TestCompare(t *testing.T) {
	before, after := sample(), sample()
	after.Machine.Kernel = "Linux 6.2"
	after.Ratios["read_vs_sink"] = SpreadOf([]float64{0.99, 0.98, 0.98})
	worse := SpreadOf([]float64{0.1, 0.1, 0.15})
	after.Rows[0].InTime = &worse
	after.Ratios["filter_gain"] = SpreadOf([]float64{3})
	var b strings.Builder
	if err := Compare(&b, before, after); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"the kernel differs: Linux 6.1, then Linux 6.2", "read_vs_sink 0.960 0.900–0.970 0.980 0.980–0.990 +2.1 % better",
		"million_vs_hundred 1.40 1.40–1.40 1.40 1.40–1.40 +0.0 % too few runs", "filter_gain - - 3.00 3.00–3.00 - not measured in both",
		"-66.7 % worse",
	} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), line) {
			t.Errorf("no %q in\n%s", line, &b)
		}
	}
	b.Reset()
	err := Compare(&b, before, before)
	if err != nil || strings.Contains(b.String(), "filter_gain") || strings.Contains(b.String(), "differs") || !strings.Contains(b.String(), "no significant change") {
		t.Errorf("%v\n%s", err, &b)
	}
}
