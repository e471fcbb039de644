package looks

import "testing"

// TestAll: the time for all ports grows with the number of tests that a group takes, and no
// difference has no time.
func TestAll(t *testing.T) {
	t.Parallel()
	if got := (OffPath{Group: 1, Tests: 100, PerSec: 10, Among: 1, Closed: 0}).all(); got != allPorts/10.0 {
		t.Errorf("one test for each port: %v s", got)
	}
	if got := (OffPath{Group: 50, Tests: 100, PerSec: 10, Among: 0.6, Closed: 0.5}).all(); got != 0 {
		t.Errorf("10 of 100 are chance: %v s", got)
	}
	clear, blurred := OffPath{Group: 5, Tests: 100, PerSec: 10, Among: 1, Closed: 0.3}, OffPath{Group: 5, Tests: 100, PerSec: 10, Among: 0.8, Closed: 0.3}
	if clear.all() == 0 || blurred.all() <= clear.all() {
		t.Errorf("%v s and %v s", clear.all(), blurred.all())
	}
}

func TestScanFailure(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		policy string
		scan   Scan
		fails  bool
	}{
		{"", Scan{Ports: 9, Silent: 1, Found: true}, false},
		{"", Scan{Ports: 9}, true},
		{"stealth", Scan{Ports: 9, Silent: 9, Found: true}, false},
		{"stealth", Scan{Ports: 9, Silent: 8, Found: true}, true},
	} {
		r := Result{Family: 4, Policy: row.policy, Scan: &row.scan}
		if f := r.Failure(); (f != "") != row.fails {
			t.Errorf("%+v: %q", row, f)
		}
	}
}
