package stay

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

var epoch = time.Unix(1_800_000_000, 0)

// drive is a client that follows a schedule, and its server.
type drive struct {
	t       *rapid.T
	s       *schedule
	now     time.Time
	openFor time.Duration
	bucket  sessions.Bucket

	begun, until time.Time // the last knock, and the end of the lease; zero: none
	ends         time.Time // of the knock that runs
	opens        bool      // that knock
	lapses       int
	first, last  time.Time // changes that no knock has followed since they settled
	failedAt     time.Time // zero: the last knock has not failed
	backoff      time.Duration
}

// knock begins a knock that the schedule has made due, and checks that it may.
func (d *drive) knock(latency time.Duration, opens bool) {
	if !d.begun.IsZero() && d.now.Sub(d.begun) < d.s.gap {
		d.t.Fatalf("knocks %s apart", d.now.Sub(d.begun))
	}
	// Each knock may send all its sequences at once.
	for i := range client.DefaultSequences {
		if !d.bucket.Take(d.now, sessions.Limit{}) {
			d.t.Fatalf("the server refuses sequence %d of a knock", i+1)
		}
	}
	if !d.first.IsZero() && (d.now.Sub(d.last) >= settleTime || d.now.Sub(d.first) >= maxSettle) {
		d.first, d.last, d.backoff = time.Time{}, time.Time{}, 0
	}
	d.s.begin(d.now)
	d.begun, d.ends, d.opens = d.now, d.now.Add(latency), opens
	d.failedAt = time.Time{}
}

// end ends the knock that runs.
func (d *drive) end() {
	if d.opens {
		if !d.until.IsZero() && d.ends.After(d.until) {
			d.lapses++
		}
		d.until = d.ends.Add(d.openFor)
		d.backoff = 0
	} else {
		d.failedAt = d.ends
		d.backoff = min(max(2*d.backoff, minBackoff), maxBackoff)
	}
	d.s.end(d.ends, d.opens)
	d.ends = time.Time{}
}

// advance moves the time on, and does what is due in order.
func (d *drive) advance(to time.Time, latency time.Duration, opens bool) {
	for {
		at, why := d.s.next(d.now)
		switch {
		case !at.IsZero() && at.Before(d.now):
			at = d.now
		case at.IsZero() && d.ends.IsZero():
			d.t.Fatal("nothing is due, and no knock runs")
		}
		switch {
		case !d.ends.IsZero() && !d.ends.After(to) && (at.IsZero() || d.ends.Before(at)):
			d.now = d.ends
			d.end()
			continue
		case at.IsZero() || at.After(to):
			d.now = to
			return
		}
		d.now = at
		if why == Retry && d.now.Sub(d.failedAt) > max(d.backoff, d.s.gap) {
			d.t.Fatalf("retried %s after a failure, at most %s was expected", d.now.Sub(d.failedAt), d.backoff)
		}
		late := d.now.Sub(d.first)
		if !d.first.IsZero() && (why == Network || why == Resume) && late > maxSettle+d.s.gap {
			d.t.Fatalf("knocked %s after a change", late)
		}
		d.knock(latency, opens)
	}
}

// TestSchedule: whatever happens, knocks are the gap apart, and the server accepts them
// all; a knock follows each change; a lease does not lapse while knocks succeed.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		openFor := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "open_for"))
		d := &drive{t: t, now: epoch, openFor: openFor, s: newSchedule(renewEvery(openFor), time.Time{})}
		failed := false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step := time.Duration(rapid.Int64Range(1, int64(10*time.Second)).Draw(t, "step"))
			latency := time.Duration(rapid.Int64Range(1, int64(300*time.Millisecond)).Draw(t, "latency"))
			opens := rapid.IntRange(0, 9).Draw(t, "opens") > 0
			failed = failed || !opens
			d.advance(d.now.Add(step), latency, opens)
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 && !d.begun.IsZero() {
				d.s.changed(d.now, rapid.SampledFrom([]Reason{Network, Resume}).Draw(t, "why"))
				if d.first.IsZero() {
					d.first = d.now
				}
				d.last = d.now
			}
		}
		if !d.first.IsZero() {
			// A knock follows the last change when it has settled, unless one has begun just
			// before.
			d.advance(d.last.Add(settleTime+d.s.gap), time.Millisecond, true)
			if !d.first.IsZero() {
				t.Fatalf("no knock after a change at %s, now %s", d.last, d.now)
			}
		}
		if d.lapses > 0 && !failed && openFor > d.s.gap+time.Second {
			t.Fatalf("the lease of %s has lapsed %d times", openFor, d.lapses)
		}
	})
}

// TestLostRenewal: a lease outlasts one renewal that did not arrive.
func TestLostRenewal(t *testing.T) {
	for _, openFor := range []time.Duration{5 * time.Second, DefaultOpenFor, time.Minute, time.Hour, 1000 * time.Hour} {
		s := newSchedule(renewEvery(openFor), epoch)
		s.end(epoch, true)
		at := epoch
		for range 2 { // the first is lost, and the client does not see that
			var why Reason
			if at, why = s.next(at); why != Renewal {
				t.Fatalf("%s is due", why)
			}
			s.begin(at)
			s.end(at.Add(100*time.Millisecond), true)
		}
		if spare := epoch.Add(openFor).Sub(at); spare < openFor/5 {
			t.Errorf("with open_for %s, the second renewal is %s before the end", openFor, spare)
		}
		if at.Sub(epoch) > 2*maxEvery {
			t.Errorf("with open_for %s, two renewals take %s", openFor, at.Sub(epoch))
		}
	}
}

// TestChangeDuringKnock: a change makes a knock due although one runs, and not before the
// network has settled.
func TestChangeDuringKnock(t *testing.T) {
	s := newSchedule(time.Minute, time.Time{})
	s.begin(epoch)
	if at, why := s.next(epoch); !at.IsZero() {
		t.Errorf("%s is due during a knock, at %s", why, at)
	}
	first := epoch.Add(10 * time.Second)
	for i := range 100 {
		s.changed(first.Add(time.Duration(i)*100*time.Millisecond), Network)
	}
	if at, why := s.next(first); why != Network || !at.Equal(first.Add(maxSettle)) {
		t.Errorf("%s is due %s after the first change", why, at.Sub(first))
	}
	s.begin(first.Add(maxSettle))
	if at, why := s.next(first); !at.IsZero() {
		t.Errorf("%s is due again, at %s", why, at)
	}
}

// TestChangeEndsBackoff: after failures, a change makes a knock due at once, and the
// pauses begin again.
func TestChangeEndsBackoff(t *testing.T) {
	s := newSchedule(time.Minute, time.Time{})
	now := epoch
	var pauses []time.Duration
	for range 8 {
		s.begin(now)
		s.end(now, false)
		at, why := s.next(now)
		if why != Retry {
			t.Fatalf("%s is due", why)
		}
		pauses = append(pauses, at.Sub(now))
		now = at
	}
	if pauses[0] != minBackoff || pauses[1] != 2*minBackoff || pauses[7] != maxBackoff {
		t.Errorf("pauses %s", pauses)
	}
	s.begin(now)
	s.end(now, false)
	now = now.Add(5 * time.Second)
	s.changed(now, Network)
	at, why := s.next(now)
	if why != Network || at.Sub(now) != settleTime {
		t.Errorf("%s is due after %s", why, at.Sub(now))
	}
	s.begin(at)
	s.end(at, false)
	if next, why := s.next(at); why != Retry || next.Sub(at) != minBackoff {
		t.Errorf("%s is due after %s", why, next.Sub(at))
	}
}

// TestLongFailure: a client whose knocks fail for two months uses so few nonces that the
// server's shield still accepts its next ones, also at eight addresses. The remedies for
// nonces that are behind the server's use 2^19 of them.
func TestLongFailure(t *testing.T) {
	const remedies, attempts, ports = 1 << 19, client.DefaultAttempts + 1, 3 // the second attempt has two sequences
	s := newSchedule(time.Minute, time.Time{})
	used, most := 0, time.Duration(0)
	for now := epoch; now.Sub(epoch) < 60*24*time.Hour; {
		sequences := attempts
		if s.single() {
			sequences = 1
		}
		used += sequences * client.MaxAddresses * ports
		s.begin(now)
		s.end(now, false)
		at, _ := s.next(now)
		now, most = at, max(most, at.Sub(now))
	}
	if remedies+used >= wire.MaxAhead || most != longBackoff {
		t.Errorf("used %d nonces; the longest pause was %s", used, most)
	}
	s.changed(epoch.Add(61*24*time.Hour), Network)
	s.begin(epoch.Add(62 * 24 * time.Hour))
	if s.single() {
		t.Error("after a change of the network, a knock makes one attempt")
	}
}
