package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/syserror"
)

// TestLane: whatever the connections show, and however late the caller is, a lane begins
// connections with pauses that grow to lastGap, and ends in time, with the most
// informative error.
func TestLane(t *testing.T) {
	closedInOrder := fmt.Errorf("%w: %w", errClosedAtOnce, io.EOF)
	reset := fmt.Errorf("%w: %w", errClosedAtOnce, syserror.Reset.Err())
	rapid.Check(t, func(t *rapid.T) {
		was := rapid.SampledFrom([]before{beforeUnknown, beforeSilent, beforeRefused, beforeOpen}).Draw(t, "before")
		timeout := time.Duration(rapid.Int64Range(1, int64(10*time.Second)).Draw(t, "timeout"))
		knocked := time.Unix(1000, 0)
		now, limit := knocked, knocked.Add(timeout)
		l := newLane(four4, knocked, timeout, func() before { return was })
		begun, closed, answered := 0, 0, false
		var lastBegun, firstRefused time.Time
		unheard := false
		for steps := 0; !l.over; steps++ {
			if steps > 10_000 {
				t.Fatalf("does not end: %+v", l)
			}
			at, begin := l.due()
			if at.After(limit) {
				t.Fatalf("due %v after its end", at.Sub(limit))
			}
			late := time.Duration(rapid.Int64Range(0, int64(20*time.Millisecond)).Draw(t, "late"))
			if at = at.Add(late); at.After(now) {
				now = at
			}
			if begin && now.Before(limit) {
				if gap := now.Sub(lastBegun); begun > 0 && gap > lastGap+late {
					t.Fatalf("no connection for %v", gap)
				}
				l.begun(now)
				begun, lastBegun = begun+1, now
				switch rapid.IntRange(0, 5).Draw(t, "answer") {
				case 0:
					l.failed(syserror.Refused.Err(), now)
					if answered = true; firstRefused.IsZero() {
						firstRefused = now
					}
				case 1:
					l.failed(closedInOrder, now)
					answered = true
					closed++
				case 2:
					l.failed(reset, now)
					answered = true
				case 3:
					l.failed(syserror.TimedOut.Err(), now)
				case 4:
					if rapid.IntRange(0, 9).Draw(t, "ICMP") == 0 {
						unheard = true
						l.rejected(true, now)
						limit = minTime(limit, now.Add(afterICMP))
					}
				} // 5: no answer
			}
			l.expire(now)
		}
		letIn := was == beforeSilent && !firstRefused.IsZero() && l.ended.Sub(firstRefused) >= enoughRefused
		early := l.ended.Before(limit)
		switch {
		case early && closed < enoughClosed && !letIn && !(unheard && refused(l.err)):
			t.Fatalf("ended %v early with %v", limit.Sub(l.ended), l.err)
		case closed > enoughClosed:
			t.Fatalf("goes on after %d connections that the program closed", closed)
		case answered && timedOut(l.err) || l.err == nil:
			t.Fatalf("ends with %v", l.err)
		case !answered && !timedOut(l.err) && !errors.Is(l.err, context.DeadlineExceeded):
			t.Fatalf("ends with %v without an answer", l.err)
		case l.sighting.before != was:
			t.Fatalf("before: %v, want %v", l.sighting.before, was)
		}
		if begun == 0 && timeout > 50*time.Millisecond {
			t.Fatal("no connection")
		}
	})
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// TestLanePace: the connections of a lane without answers. The first ones are close
// together, since a server that waits for its disk opens within some milliseconds; and
// the oldest of those that are under way has waited for a second when it is given up.
func TestLanePace(t *testing.T) {
	knocked := time.Unix(1000, 0)
	l := newLane(four4, knocked, time.Hour, func() before { return beforeUnknown })
	var times []time.Duration
	for range 3 * maxUnderWay {
		at, _ := l.due()
		l.begun(at)
		times = append(times, at.Sub(knocked))
	}
	for i, at := range times {
		if i == 0 {
			if at != firstTry {
				t.Errorf("the first after %v", at)
			}
			continue
		}
		// A grant that comes right after a connection began waits for the next one.
		if gap := at - times[i-1]; gap > max(times[i-1], time.Millisecond) || gap > lastGap {
			t.Errorf("%v, then %v", times[i-1], at)
		}
		if i >= maxUnderWay && at-times[i-maxUnderWay] < time.Second {
			t.Errorf("a connection of %v ends at %v", times[i-maxUnderWay], at)
		}
	}
}
