package insider

import (
	"strings"
	"testing"
)

func TestFailure(t *testing.T) {
	good := Result{Scenario: "an attack", Honest: 200, Granted: 200, P99ms: 49, LogLines: mostLines}
	if f := good.Failure(); f != "" {
		t.Error(f)
	}
	fewer, longer := good, good
	fewer.Granted--
	longer.LogLines += 401
	longer.Firewall = true
	for want, r := range map[string]Result{
		"an attack, without a firewall: 199 of 200 honest clients": fewer,
		"an attack, with a firewall: the log grew by 901 lines":    longer,
	} {
		if f := r.Failure(); !strings.HasPrefix(f, want) {
			t.Errorf("%q, want %q", f, want)
		}
	}
	lost := fewer
	lost.Missed = 1
	fewer.Beyond = true
	for _, r := range []Result{fewer, lost} {
		if f := r.Failure(); f != "" {
			t.Error(f)
		}
	}
	slower := good
	slower.P99ms = 122.5
	var text strings.Builder
	err := WriteText(&text, []Result{good, slower})
	if err != nil || !strings.Contains(text.String(), "2.5") || !strings.Contains(text.String(), "100.0 %") ||
		strings.Count(text.String(), "missed") != 1 || strings.Count(text.String(), "reached") != 1 {
		t.Errorf("%v, %s", err, text.String())
	}
}
