package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
)

// TestInterruptedLeases: leases that are in force when a server stops are open after the
// next start, for the time that they have left; none of a client that is gone or has
// another secret, none longer by any clock, and none twice.
func TestInterruptedLeases(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var set *setup
	w := newWorld(t, func(s *setup) {
		s.keys, s.web, set = "resume_leases = true", "open_for = \"10m\"", s
	})
	for _, id := range []string{"com1", "com2", "com3"} {
		if _, err := w.knock(t.Context(), w.profile(id, server4), 0); err != nil {
			t.Fatal(err)
		}
	}
	of := func() map[string]admin.Lease {
		all := map[string]admin.Lease{}
		for _, l := range w.server.leases() {
			all[l.Client] = l
		}
		return all
	}
	w.until(t, "three leases", func() bool { return len(of()) == 3 })
	before := of()
	w.stop()
	if w.listening() {
		t.Error("open while no server runs")
	}
	if list, err := state.ReadKept(set.stateDir); err != nil || len(list) != 3 {
		t.Fatalf("recorded: %+v, %v", list, err)
	}
	// com2 is gone, com3 has another secret, and the time of day has been set back.
	full := set.list
	set.list = append(full[:1:1], full[2], full[3])
	set.list[1].Secret = []byte("another secret of com3")
	w.clock.host.Step(-2 * time.Hour)
	restart := func(when string, want int) map[string]admin.Lease {
		t.Helper()
		w.start()
		<-w.server.interrupted.opened
		if _, err := os.Lstat(filepath.Join(set.stateDir, state.KeptFileName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a crash now would open the leases once more: %v", when, err)
		}
		now := of()
		if len(now) != want || (want > 0) != w.listening() {
			t.Fatalf("%s: %d leases, want %d; listening: %v", when, len(now), want, w.listening())
		}
		return now
	}
	now := restart("after changes", 1)
	if l, ok := now["com1"]; !ok || l.Until.Add(2*time.Hour).After(*before["com1"].Until) {
		t.Errorf("by a clock that was set back: until %v, before %v", l.Until, before["com1"].Until)
	}
	// The time passes while no server runs.
	w.stop()
	w.clock.host.Pass(time.Minute)
	if l := restart("a minute later", 1)["com1"]; l.Until.Add(2 * time.Hour).After(*before["com1"].Until) {
		t.Errorf("a minute later: until %v, before %v", l.Until, before["com1"].Until)
	}
	// Another start of the kernel.
	w.stop()
	otherBoot := func(list []state.Kept) []state.Kept {
		list[0].End.Boot = "another"
		return append(list, list[0])
	}
	if err := state.EditKept(t.Context(), set.stateDir, false, otherBoot); err != nil {
		t.Fatal(err)
	}
	restart("after a reboot", 0)
	// One that would have ended.
	if _, err := w.knock(context.Background(), w.profile("com1", server4), 0); err != nil {
		t.Fatal(err)
	}
	w.until(t, "a lease", func() bool { return len(of()) == 1 })
	w.stop()
	w.clock.host.Pass(11 * time.Minute)
	restart("after its end", 0)
}

// TestTimeLeft: no clock makes a lease longer.
func TestTimeLeft(t *testing.T) {
	e := state.End{Boot: "b", Since: time.Hour, Wall: keptAt.Unix()}
	for _, row := range []struct {
		name  string
		boot  string
		since time.Duration
		wall  time.Time
		want  time.Duration
	}{
		{"both clocks go on", "b", time.Hour - time.Minute, keptAt.Add(-time.Minute), time.Minute},
		{"set back", "b", time.Hour - time.Minute, keptAt.Add(-time.Hour), time.Minute},
		{"set forward", "b", time.Hour - time.Minute, keptAt.Add(-time.Second), time.Second},
		{"another namespace of time", "b", 0, keptAt.Add(-time.Minute), time.Minute},
		{"after a reboot", "c", 0, keptAt.Add(-time.Minute), 0},
	} {
		if got := timeLeft(e, clock.Moment{Boot: row.boot, Since: row.since}, row.wall); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}
