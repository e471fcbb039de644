package ingest

import (
	"testing"
	"time"

	"sallyport/verify/schedule"
)

// TestNextRefresh: the next refresh begins when other minutes are live, and never later
// than checkInterval after the last one, whatever happened to the clock during it.
func TestNextRefresh(t *testing.T) {
	turn := schedule.Minute(29_000_000).Start()
	for _, row := range []struct {
		before     time.Duration // of the turn, at the beginning
		took, want time.Duration
	}{
		{30 * time.Second, 0, checkInterval},
		{30 * time.Second, 10 * time.Millisecond, checkInterval - 10*time.Millisecond},
		{300 * time.Millisecond, 10 * time.Millisecond, 290 * time.Millisecond},
		{30 * time.Second, -time.Hour, checkInterval}, // set back
		{300 * time.Millisecond, -time.Hour, checkInterval},
		{30 * time.Second, time.Hour, checkInterval - time.Hour}, // set forward: at once
	} {
		if got := untilNext(pause(turn.Add(-row.before), 0), row.took); got != row.want {
			t.Errorf("%s before the turn, after %s: got %s, want %s", row.before, row.took, got, row.want)
		}
	}
}
