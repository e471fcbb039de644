package soak

import (
	"strings"
	"testing"
)

// TestFailure is about runs without violations, with some, and with a planted one.
func TestFailure(t *testing.T) {
	open := Violation{What: "ssh is open to 10.0.0.1, a stranger", Before: planted + ", 1s earlier"}
	left := Violation{What: "leases left at the end: 1, at the beginning 0", Before: "end of the schedule, 0s earlier"}
	for _, c := range []struct {
		planted bool
		found   []Violation
		want    string
	}{
		{false, nil, ""},
		{false, []Violation{left}, "1 violations"},
		{true, []Violation{open}, ""},
		{true, nil, "the planted violation was not reported"},
		{true, []Violation{left}, "the planted violation was not reported"},
		{true, []Violation{open, left}, "violations that were not planted"},
	} {
		r := Result{Planted: c.planted, Violations: c.found, Counts: Counts{Violations: len(c.found)}}
		if got := r.Failure(); got != c.want {
			t.Errorf("planted %t, %v: %q, expected %q", c.planted, c.found, got, c.want)
		}
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Error(err)
		}
		for _, v := range c.found {
			if !strings.Contains(text.String(), v.String()) {
				t.Errorf("%s\nlacks %s", text.String(), v)
			}
		}
	}
}
