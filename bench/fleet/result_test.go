package fleet

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/report"
)

func sample() Opening {
	return Opening{
		Setup: Setup{Gateways: 3, Clients: 100, Trip: 2}, Tries: 1200, Opened: 1200,
		Here: &Spread{4, 9}, Write: &Spread{3, 5}, Cost: Cost{Transactions: 1.05, Leases: 0.05, Writes: 1, Events: 3, Sent: 375},
	}
}

// TestFailures: each row changes one figure, and has the failure that it then causes.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		change func(*Opening)
		want   string
	}{
		{func(*Opening) {}, ""},
		{func(o *Opening) { o.Here.P50 = 7 }, ""},
		{func(o *Opening) { o.Here.P50 = 7.01 }, "3 gateways, 2 ms, 100 clients: p50 7.01 ms, expected at most 7.00"},
		{func(o *Opening) { o.Here.P50, o.Stolen = 7.01, report.MaxSteal+0.01 }, ""},
		{func(o *Opening) { o.Here.P50, o.Others = 7.01, report.MaxSteal+0.01 }, ""},
		{func(o *Opening) { o.Opened-- }, "3 gateways, 2 ms, 100 clients: 1199 of 1200 attempts opened"},
		{func(o *Opening) { o.Opened, o.Stolen = 9, report.MaxSteal+0.01 }, ""},
		{func(o *Opening) { o.Cost.Reads = 0.2 }, "3 gateways, 2 ms, 100 clients: 1.30 requests to etcd for an attempt, expected 1"},
		{func(o *Opening) { o.All, o.Cost.Transactions = true, 2.1 }, ""},
		{func(o *Opening) { o.All, o.Cost.Transactions = true, 2.25 }, `3 gateways, spread = "all", 2 ms, 100 clients: 2.30 requests to etcd for an attempt, expected 2`},
		{func(o *Opening) { o.Gateways, o.Write, o.Here.P50, o.Cost = 0, nil, 99, Cost{} }, ""},
		{func(o *Opening) { o.Clients, o.Here.P50 = 1000, 4.3 }, ""},
		{func(o *Opening) { o.Clients, o.Here.P50 = 1000, 4.4 }, "3 gateways, 2 ms, 1000 clients: p50 4.40 ms, expected at most 4.30, as with fewer clients"},
	} {
		o := sample()
		c.change(&o)
		got := strings.Join(Result{Openings: []Opening{sample(), o}}.Failures(), "\n")
		if got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
	o := sample()
	o.Here.P50 = 99
	if got := (Result{Quick: true, Openings: []Opening{o}}).Failures(); got != nil {
		t.Errorf("a quick run fails by its times: %q", got)
	}
	if got := (Result{Loads: []Load{{Setup: o.Setup}}}).Failures(); len(got) != 1 {
		t.Errorf("without grants under load: %q", got)
	}
}

func TestSpreadOf(t *testing.T) {
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(200-i)*time.Millisecond)
	}
	if got := spreadOf(times); *got != (Spread{101, 199}) {
		t.Errorf("got %v", *got)
	}
	if spreadOf(nil) != nil {
		t.Error("no times have a median")
	}
}

// TestScale: costs for each grant are those of all gateways that were measured.
func TestScale(t *testing.T) {
	one := Opening{Setup: Setup{Gateways: 1}, Cost: Cost{Writes: 9, Events: 9}}
	r := Result{Openings: []Opening{one, sample()}, Idle: &Cost{Writes: 0.2, Reads: 0.2, Renewals: 0.2}}
	want := []scaled{
		{`spread = "local": transactions`, 2940},
		{`spread = "local": reads`, 0},
		{`spread = "local": writes of keys`, 2800},
		{`spread = "local": events`, 280_000},
		{`spread = "local": MB to gateways`, 35},
		{"idle: writes", 20}, {"idle: renewals of leases", 20}, {"idle: reads", 20},
	}
	got := r.rows()
	for i := range got {
		got[i].value = float64(int(got[i].value + 0.5))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestText: the tables have the figures, and what is missing has a dash.
func TestText(t *testing.T) {
	o := sample()
	o.Rest = &Spread{6.5, 12}
	r := Result{
		Openings: []Opening{{Setup: Setup{Clients: 100}, Tries: 10, Opened: 10, Here: &Spread{0.3, 0.9}}, o},
		Loads:    []Load{{Setup: o.Setup, Grants: 5000, Cost: Cost{Transactions: 0.02, Leases: 0.001}}},
		Starts:   []Start{{Setup: Setup{Gateways: 1, Clients: 100}, Ready: 3.5, View: 12, MiB: 465, Requests: 1000, Read: 130.5}},
	}
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	for _, want := range []string{
		"no fleet 100 – 0 – 0.30 0.90 – – – 0.00 10 of 10 0 %",
		"3 gateways, 3 members 100 local 2 3.00 4.00 9.00 1.3 6.50 12.00 1.10 1200 of 1200 0 % reached",
		"3 gateways, 3 members 100 local 5000 0 0 0 0 0.021 0.000 0.00 0.00 0 0 0 %",
		"one gateway, one member 100 0 3.50 12.0 465 1000 130.5 0 0",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

// TestJSON: what the measuring process prints is what the other one reads.
func TestJSON(t *testing.T) {
	r := Result{Openings: []Opening{sample()}, Idle: &Cost{Reads: 1}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(text) || !strings.Contains(string(text), `"round_trip_ms":2`) {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
}
