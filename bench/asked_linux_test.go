package bench

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/bench/scenario"
)

// TestAnswers: the figure is of all answers in a run, slow ones included, each row has its
// own, and a request without an answer is a failure.
func TestAnswers(t *testing.T) {
	took := func(all ...int64) answers {
		h := hdrhistogram.New(1, askTime.Microseconds(), 3)
		for _, µs := range all {
			h.RecordValue(µs)
		}
		return answers{took: h}
	}
	var b results
	add := func(run int, kind string, a answers) {
		w := aWindow(100, 100, 1000, 1000)
		w.answers = a
		b.add(run, step{kind, shipped, asked, true}, w)
	}
	b.add(0, magic, aWindow(100, 100, 1000, 1000)) // not asked
	add(0, "bad-magic", took(1000, 2000))
	add(0, "bad-mac", took(30_000))
	add(1, "bad-magic", took(4000))
	res := b.result(Config{Rounds: 2, Window: time.Second}, map[string]*tested{})
	if got := res.LatencyMS["answer_p99"]; got.Kept != 2 || int(got.Max) != 30 || int(got.Min) != 4 {
		t.Errorf("%+v", got)
	}
	for _, r := range res.Rows {
		want := map[string]int{"bad-magic highest": 0, "bad-magic highest, asked": 3, "bad-mac highest, asked": 1}[r.Scenario+" "+r.Load]
		if r.Asked != want || (r.Answers != nil) != (want > 0) {
			t.Errorf("%s, %s: %d answers, %v", r.Scenario, r.Load, r.Asked, r.Answers)
		}
	}
	if len(res.Failures) > 0 {
		t.Errorf("failures: %v", res.Failures)
	}
	add(2, "bad-mac", answers{took(1).took, errors.New("timeout")})
	if got := b.failures(); len(got) != 1 || !strings.Contains(got[0], "no answer: timeout") {
		t.Errorf("without an answer: %v", got)
	}
}

// TestAllFloodsAreAsked: the plan has a window with requests for each kind of flood.
func TestAllFloodsAreAsked(t *testing.T) {
	for _, k := range scenario.All {
		if k.Ports != 3 && !k.Alone && !slices.Contains(fullPlan.once, step{k.Name, shipped, asked, true}) {
			t.Errorf("%s is not in the plan", k.Name)
		}
	}
	if !slices.ContainsFunc(quickPlan.once, func(s step) bool { return s.load == asked }) {
		t.Error("the quick plan asks nothing")
	}
}
