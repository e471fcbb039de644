package report

import "testing"

func TestUnreachedRates(t *testing.T) {
	at := func(load string, offered float64) Row { return Row{Load: load, Offered: once(offered)} }
	res := Result{
		Rows: []Row{
			at("5 M/s", 4e6), at("5 M/s, at the turn of the minute", 3.2e6), at("2 M/s", 1.96e6), at("highest", 3e6), at("light", 1e4),
			{Load: "3 M/s"}, at("1 M/s", 94e3), at("1 M/s", 414e3),
		},
		Curves: []Curve{{Points: []CurvePoint{{Planned: 1e5, Offered: once(1e5)}, {Planned: 1e7, Offered: once(4.1e6)}}}},
	}
	want := "The generator reached 94,000 to 414,000 packets a second where 1.0 million were planned, 3.2 million to 4.0 million packets a second where 5.0 million were planned and 4.1 million packets a second where 10.0 million were planned. Figures that are named after a planned rate are those of the rate that was reached."
	if got := res.unreachedSentence(); got != want {
		t.Errorf("%s\nexpected: %s", got, want)
	}
	res.Rows, res.Curves = res.Rows[2:6], nil
	if got := res.unreachedSentence(); got != "" {
		t.Errorf("all rates were reached, but: %s", got)
	}
}
