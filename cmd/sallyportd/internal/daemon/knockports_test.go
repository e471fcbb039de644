package daemon

import (
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
)

// stopped is a host whose clocks only the test advances.
type stopped struct{ wall, mono time.Time }

func (s *stopped) Advance(d time.Duration) { s.wall, s.mono = s.wall.Add(d), s.mono.Add(d) }

func (s *stopped) Clock() clock.Clock {
	mono := func() time.Time { return s.mono }
	return clock.Clock{Wall: func() time.Time { return s.wall }, Monotonic: mono, Boot: mono}
}

// wall is the firewall's set of knock ports, by the host's own timeouts.
type wall struct {
	host   *stopped
	ends   map[uint16]time.Time // by clock.Monotonic
	opened int
	fail   error
}

func (w *wall) openPorts(ports []uint16, lasts time.Duration) error {
	if w.fail != nil {
		return w.fail
	}
	for _, p := range ports {
		w.ends[p] = w.host.Clock().Monotonic().Add(lasts)
		w.opened++
	}
	return nil
}

func (w *wall) takes(p uint16) bool { return w.host.Clock().Monotonic().Before(w.ends[p]) }

func newWall() (*wall, *knockPorts, *strings.Builder) {
	w := &wall{host: &stopped{time.Unix(1_800_000_020, 0), time.Unix(5000, 0)}, ends: map[uint16]time.Time{}}
	var log strings.Builder
	return w, &knockPorts{
		servicePorts: []access.Ports{{First: 53, Last: 53}}, openPorts: w.openPorts, clock: w.host.Clock(), heldUntil: map[uint16]time.Time{}, missed: map[uint16]bool{}, reopened: make(chan struct{}, 1),
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}, &log
}

// TestKnockPortsFollowTheClock: the firewall's timeouts run on when the time of day
// is set. However it is, a port takes knocks for as long as it is open.
func TestKnockPortsFollowTheClock(t *testing.T) {
	for _, step := range []time.Duration{0, -time.Minute, -2 * time.Minute, -24 * time.Hour, 30 * time.Second} {
		w, k, _ := newWall()
		until := w.host.Clock().Wall().Add(90 * time.Second)
		if err := k.set(map[uint16]time.Time{2000: until, 53: until}); err != nil {
			t.Fatal(err)
		}
		if !w.takes(2000) || w.takes(53) {
			t.Fatal("not told what is open")
		}
		w.host.Advance(10 * time.Second)
		w.host.wall = w.host.wall.Add(step)
		for range 400 {
			k.refresh() // as each second
			if left := until.Sub(w.host.Clock().Wall()); left > knockSlack && !w.takes(2000) {
				t.Fatalf("the clock was stepped by %s: shut with %s left", step, left)
			}
			w.host.Advance(time.Second)
		}
		if step == 0 && w.opened != 1 {
			t.Errorf("opened %d times", w.opened)
		}
	}
}

// TestKnockPortsAreSentAgain: ports that the firewall could not open are sent again
// later, and all of them if there is another holder. A failure stops nothing, and
// is logged once.
func TestKnockPortsAreSentAgain(t *testing.T) {
	w, k, log := newWall()
	w.fail = errors.New("no table")
	open := map[uint16]time.Time{2000: w.host.Clock().Wall().Add(time.Minute), 2001: w.host.Clock().Wall().Add(2 * time.Minute)}
	if err := k.set(maps.Clone(open)); err != nil {
		t.Errorf("a failure ends the server: %v", err)
	}
	k.refresh()
	if n := strings.Count(log.String(), "no table"); n != 1 {
		t.Errorf("said %d times", n)
	}
	w.fail = nil
	if len(k.reopened) != 0 {
		t.Error("knocks come in before the firewall was told")
	}
	if k.refresh(); !w.takes(2000) || !w.takes(2001) || w.opened != 2 {
		t.Errorf("opened %d times", w.opened)
	}
	if len(k.reopened) != 1 {
		t.Error("nobody knows that knocks were lost meanwhile")
	}
	<-k.reopened
	if k.refresh(); w.opened != 2 || len(k.reopened) != 0 {
		t.Errorf("opened %d times", w.opened)
	}
	clear(w.ends)
	w.fail = errors.New("not yet")
	if k.reopenAll(); len(k.reopened) != 0 {
		t.Error("knocks come in before the next holder was told")
	}
	w.fail = nil
	if k.refresh(); !w.takes(2000) || !w.takes(2001) || w.opened != 4 || len(k.reopened) != 1 {
		t.Errorf("opened %d times", w.opened)
	}
	// A port that closes at this instant is not sent.
	if k.set(map[uint16]time.Time{2002: w.host.Clock().Wall()}); w.opened != 4 {
		t.Errorf("opened %d times", w.opened)
	}
}

// TestTracedPorts: a port of a trace is in the firewall for a short time, which is renewed
// while the trace runs; its loss is no loss of knocks, and is no line of the log.
func TestTracedPorts(t *testing.T) {
	w, k, log := newWall()
	live := w.host.Clock().Wall().Add(2 * time.Minute)
	k.set(map[uint16]time.Time{2000: live})
	k.trace([]uint16{2001, 53})
	for range 120 {
		if k.refresh(); !w.takes(2001) || w.takes(53) {
			t.Fatal("the port of the trace is closed, or a service's open")
		}
		if left := w.ends[2001].Sub(w.host.Clock().Monotonic()); left > holder.TraceTime {
			t.Fatalf("open for %s", left)
		}
		w.host.Advance(time.Second)
	}
	if w.opened > 1+120/int(holder.TraceTime/2/time.Second)+1 {
		t.Errorf("opened %d times", w.opened)
	}
	w.fail = errors.New("an old holder")
	w.host.Advance(holder.TraceTime)
	if k.refresh(); k.untraced() == nil || len(k.reopened) != 0 || len(k.missed) != 0 || log.String() != "" {
		t.Errorf("%v; knocks count as lost: %d, %v; log %s", k.untraced(), len(k.reopened), k.missed, log)
	}
	w.fail = nil
	if k.refresh(); !w.takes(2001) || k.untraced() != nil || len(k.reopened) != 0 {
		t.Error("not tried again")
	}
	k.trace(nil)
	for range int(holder.TraceTime / time.Second) {
		w.host.Advance(time.Second)
		k.refresh()
	}
	if w.takes(2001) || (*knockPorts)(nil).untraced() != nil {
		t.Error("open after the trace")
	}
}
