package knocktime

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestOff(t *testing.T) {
	r := Result{Row: Row{Table: 1, DataBits: 12}} // 243 ms
	for _, row := range []struct {
		measured time.Duration
		off      bool
	}{
		{0, false}, // not measured
		{243 * ms, false},
		{267300 * time.Microsecond, false},
		{267301 * time.Microsecond, true},
		{218700 * time.Microsecond, false},
		{218699 * time.Microsecond, true},
	} {
		r.Measured = row.measured
		if r.Off() != row.off {
			t.Errorf("%v: off %v", row.measured, r.Off())
		}
	}
}

func TestResultsAsJSON(t *testing.T) {
	var b strings.Builder
	if err := WriteJSON(&b, Results([]time.Duration{245_123_456})); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(b.String()), &rows); err != nil {
		t.Fatalf("%v:\n%s", err, b.String())
	}
	if len(rows) != len(Rows()) {
		t.Fatalf("%d rows, want %d", len(rows), len(Rows()))
	}
	if rows[0]["measured_s"] != 0.245123 || rows[1]["measured_s"] != nil {
		t.Errorf("measured: %v, %v", rows[0]["measured_s"], rows[1]["measured_s"])
	}
	for _, row := range rows {
		if len(row) != 8 {
			t.Errorf("%v", row)
		}
	}
}

func TestResultsAsText(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, Results([]time.Duration{245 * ms, 300 * ms})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"= 243    0.243    0.243    0.2450  +0.8 %\n", "0.3000  +16.7 %  OFF\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
