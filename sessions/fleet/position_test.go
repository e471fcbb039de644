package fleet

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
)

// lostAt returns a Journal without etcd, whose clocks the caller moves.
func lostAt(t *testing.T, dir string) (j *Journal, now *time.Time, elapsed *time.Duration) {
	t.Helper()
	p, err := readPosition(dir)
	if err != nil {
		t.Fatal(err)
	}
	now, elapsed = new(time.Time), new(time.Duration)
	*now = wall()
	j = &Journal{
		view: newView(), position: p, log: slog.New(slog.DiscardHandler),
		wall: func() time.Time { return *now }, elapsed: func() time.Duration { return *elapsed },
	}
	j.lostUntil.Store(p.lostUntil)
	return j, now, elapsed
}

func stamped(after time.Duration) *sessions.Entry {
	return &sessions.Entry{Stamp: uint32(wall().Add(after).Unix())}
}

// TestLatestLimitCounts: of gaps that are found at the same time, the latest limit is on
// disk, in any order of the writes.
func TestLatestLimitCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, err := readPosition(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, until := range []int64{7, 9, 8} {
		if err := p.lost(cluster.Position{Cluster: 1, Revision: 1}, until); err != nil {
			t.Fatal(err)
		}
	}
	if p, err = readPosition(dir); err != nil || p.lostUntil != 9 {
		t.Errorf("on disk: %d, %v, want 9", p.lostUntil, err)
	}
}

// TestGapThatIsNotOnDisk: nothing is accepted until the limit is on disk.
func TestGapThatIsNotOnDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	j, _, _ := lostAt(t, dir) // the directory does not exist: a write fails
	j.gap(errDeleted, cluster.Position{Cluster: 1, Revision: 1})
	later := stamped(time.Hour)
	if !j.refuses(later) {
		t.Error("a knock is accepted while a restart would forget the limit")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j.position.retry()
	if j.refuses(later) {
		t.Error("knocks are refused after the limit was written")
	}
	if again, _, _ := lostAt(t, dir); !again.refuses(stamped(time.Minute)) || again.refuses(later) {
		t.Errorf("after a restart: %d", again.lostUntil.Load())
	}
}

// TestClockIsSetAfterGap: a clock that was behind at the gap, and is set forward, does not
// make knocks acceptable whose record is lost; one that is set for a moment to a far time
// keeps no client out for longer; a restart keeps the limit.
func TestClockIsSetAfterGap(t *testing.T) {
	t.Parallel()
	const behind = 5 * time.Minute
	dir := t.TempDir()
	j, now, elapsed := lostAt(t, dir)
	j.gap(errDeleted, cluster.Position{Cluster: 1, Revision: 1})
	*now, *elapsed = now.Add(24*time.Hour), 10*time.Second
	if !j.refuses(stamped(24 * time.Hour)) {
		t.Error("a clock that is far ahead: accepted")
	}
	*now, *elapsed = wall().Add(behind+30*time.Second), 30*time.Second
	for after, want := range map[time.Duration]bool{0: true, behind: true, behind + time.Minute: true, behind + 61*time.Second: false} {
		if got := j.refuses(stamped(after)); got != want {
			t.Errorf("a knock stamped %s after the gap by the old clock: refused %v, want %v", after, got, want)
		}
	}
	j.position.raise(j.limit())
	if err := j.position.save(cluster.Position{Cluster: 1, Revision: 1}); err != nil {
		t.Fatal(err)
	}
	if again, _, _ := lostAt(t, dir); !again.refuses(stamped(behind + time.Minute)) {
		t.Error("after a restart: accepted")
	}
	*now, *elapsed = now.Add(time.Hour), 121*time.Second
	if j.refuses(stamped(time.Hour)) {
		t.Error("a knock from long after the gap is refused")
	}
}
