package schedule

import (
	"slices"
	"testing"
	"time"
)

// TestAround: the minutes beside the live ones come first, then those of other time zones;
// none comes twice, none is live, and Reach counts them.
func TestAround(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).Truncate(time.Minute).Add(10 * time.Second)
	live := Live(now, 20*time.Second) // two minutes
	first, last := live[0], live[1]
	all := slices.Collect(Around(live))
	want := []Minute{first - 1, last + 1, first - 2, last + 2}
	if !slices.Equal(all[:4], want) || !slices.Equal(all[20:24], []Minute{first - 60, first + 60, last - 60, last + 60}) {
		t.Errorf("got %v", all)
	}
	if len(all) != 2*AroundMinutes+2*AroundHours*len(live) {
		t.Errorf("%d minutes", len(all))
	}
	seen := map[Minute]bool{first: true, last: true}
	for _, m := range all {
		if seen[m] {
			t.Errorf("minute %d twice, or live", m)
		}
		seen[m] = true
	}
	for n, want := range map[int][2]int{0: {}, 1: {}, 2: {1}, 19: {9}, 20: {10}, 23: {10}, 24: {10, 1}, 1000: {10, 14}} {
		if m, h := Reach(n, now, 20*time.Second); m != want[0] || h != want[1] {
			t.Errorf("%d minutes reach %d, %d; want %v", n, m, h, want)
		}
	}
	for range Around(live) { // a caller may stop
		break
	}
}
