package exchanges

import (
	"strings"
	"testing"

	"sallyport/bench/report"
)

func TestFailure(t *testing.T) {
	good := Result{Scenario: "a flood", Honest: 200, Granted: 190, Before: 30, After: 34}
	if f := good.Failure(); f != "" {
		t.Error(f)
	}
	fewer, larger := good, good
	fewer.Granted--
	larger.After += 0.1
	for want, r := range map[string]Result{"a flood: 189 of 200 honest exchanges": fewer, "a flood: the server's memory grew from 30.0 to 34.1 MiB": larger} {
		if f := r.Failure(); !strings.HasPrefix(f, want) {
			t.Errorf("%q, want %q", f, want)
		}
	}
	beyond, stolen := fewer, fewer
	beyond.Beyond = true
	stolen.Stolen = report.MaxSteal + 0.01
	for what, r := range map[string]Result{"beyond the goal": beyond, "beside busy machines": stolen} {
		if f := r.Failure(); f != "" {
			t.Errorf("%s: %s", what, f)
		}
	}
	var text strings.Builder
	err := WriteText(&text, []Result{good})
	if err != nil || !strings.Contains(text.String(), "a flood") || !strings.Contains(text.String(), "95.0 %") {
		t.Errorf("%v, %s", err, text.String())
	}
}
