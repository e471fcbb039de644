package carriers

import (
	"strings"
	"testing"

	"sallyport/bench/report"
)

func TestFailure(t *testing.T) {
	good := Result{
		Scenario: "a flood", Planned: 100, Sent: 90, Exchange: Count{200, 198}, Site: Count{100, 99}, Knocks: Count{50, 50}, Before: 30, After: 62,
	}
	if f := good.Failure(); f != "" {
		t.Error(f)
	}
	for want, change := range map[string]func(*Result){
		"a flood: 197 of 200 exchanges succeeded":         func(r *Result) { r.Exchange.OK-- },
		"a flood: 98 of 100 visits of the site succeeded": func(r *Result) { r.Site.OK-- },
		"a flood: 49 of 50 knocks succeeded":              func(r *Result) { r.Knocks.OK-- },
		"a flood: the memory grew from 30.0 to 62.1 MiB":  func(r *Result) { r.After += 0.1 },
		"beyond: the memory grew from 30.0 to 62.1 MiB":   func(r *Result) { r.Scenario, r.Beyond, r.After = "beyond", true, 62.1 },
		"": func(r *Result) { r.Beyond, r.Exchange.OK = true, 0 },
	} {
		r := good
		r.Stolen = report.MaxSteal
		change(&r)
		if f := r.Failure(); f != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
	noisy := good
	noisy.Exchange.OK, noisy.Stolen = 0, report.MaxSteal+0.01
	if f := noisy.Failure(); f != "" {
		t.Errorf("on a machine that others use: %s", f)
	}
	var text strings.Builder
	err := WriteText(&text, []Result{good})
	if err != nil || !strings.Contains(text.String(), "99.0 %") || !strings.Contains(text.String(), "90 (planned 100)") {
		t.Errorf("%v, %s", err, text.String())
	}
}
