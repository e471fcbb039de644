package clock

import (
	"testing"
	"time"
)

func TestShares(t *testing.T) {
	since := []Ticks{{1000, 100, 10}, {2000, 200, 20}}
	now := []Ticks{{1100, 190, 10}, {2100, 230, 40}}
	if got := MostStolen(since, now); got != 0.2 {
		t.Errorf("stolen %v, want 0.2", got)
	}
	for own, want := range map[time.Duration]float64{0: 0.6, 200 * time.Millisecond: 0.5, 2 * time.Second: 0} {
		if got := OthersShare(since, now, own); got != want {
			t.Errorf("own time %s: others %v, want %v", own, got, want)
		}
	}
	if got := OthersShare(now, now, 0); got != 0 {
		t.Errorf("no time: %v", got)
	}
}

// TestTicks: a core has spent time, some of it in programs.
func TestTicks(t *testing.T) {
	cores, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	all, err := TicksOf(cores)
	if err != nil || len(all) != len(cores) {
		t.Fatalf("%d cores: %v, %v", len(cores), all, err)
	}
	for i, c := range all {
		if c.programs == 0 || c.total < c.programs+c.stolen {
			t.Errorf("core %d: %+v", cores[i], c)
		}
	}
}
