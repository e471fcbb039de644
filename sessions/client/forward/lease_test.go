package forward

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPace: in each span of time, at most burst knocks and one for each pause begin,
// and none waits without need.
func TestPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10).Draw(t, "burst")
		pause := time.Duration(rapid.IntRange(1, 5000).Draw(t, "pause")) * time.Millisecond
		now := time.Unix(1e9, 0)
		var p pace
		var begins []time.Time
		for _, gap := range rapid.SliceOfN(rapid.IntRange(0, 10_000), 1, 60).Draw(t, "gaps") {
			now = now.Add(time.Duration(gap) * time.Millisecond)
			wait := p.take(now, n, pause)
			begin := now.Add(wait)
			if wait > 0 && len(begins) >= n && begins[len(begins)-n].Add(time.Duration(n)*pause).Before(begin) {
				t.Fatalf("knock %d waits %s without need", len(begins), wait)
			}
			if wait > 0 && len(begins) < n {
				t.Fatalf("knock %d of a burst of %d waits %s", len(begins), n, wait)
			}
			begins = append(begins, begin)
		}
		for i := range begins {
			for j := i; j < len(begins); j++ {
				if most := n + int(begins[j].Sub(begins[i])/pause); j-i+1 > most {
					t.Fatalf("%d knocks in %s, want %d at most", j-i+1, begins[j].Sub(begins[i]), most)
				}
			}
		}
	})
}

func TestLease(t *testing.T) {
	begin := time.Unix(1e9, 0)
	l := lease{n: 1, begin: begin}
	for _, c := range []struct {
		name           string
		lease          lease
		after, openFor time.Duration
		fresh, half    bool
	}{
		{"no lease", lease{}, 0, time.Hour, false, false},
		{"new", l, 0, 30 * time.Second, true, false},
		{"half over", l, 15 * time.Second, 30 * time.Second, true, true},
		{"over", l, 30 * time.Second, 30 * time.Second, false, true},
		{"unknown, new", l, assumedOpen - 1, 0, true, false},
		{"unknown, old", l, assumedOpen, 0, false, false},
	} {
		now := begin.Add(c.after)
		fresh, half := c.lease.fresh(now, c.openFor), c.lease.halfOver(now, c.openFor)
		if fresh != c.fresh || half != c.half {
			t.Errorf("%s: fresh %v, half over %v", c.name, fresh, half)
		}
	}
}

func TestSilence(t *testing.T) {
	var s silence
	begin := time.Unix(1e9, 0)
	var knocks []int
	for i := range 300 {
		if s.sent(begin.Add(time.Duration(i) * time.Second)) {
			knocks = append(knocks, i)
		}
	}
	want := []int{3, 8, 18, 38, 78, 138, 198, 258}
	if len(knocks) != len(want) {
		t.Fatalf("knocks after %d seconds, want %d", knocks, want)
	}
	for i := range want {
		if knocks[i] != want[i] {
			t.Fatalf("knocks after %d seconds, want %d", knocks, want)
		}
	}
	s.answered()
	if s.sent(begin.Add(301*time.Second)) || s.sent(begin.Add(303*time.Second)) || !s.sent(begin.Add(304*time.Second)) {
		t.Error("an answer does not begin a new silence")
	}
	s.answered()
	s.sent(begin.Add(400 * time.Second))
	s.refused(begin.Add(400 * time.Second))
	if !s.sent(begin.Add(401 * time.Second)) {
		t.Error("an ICMP error is not a silence")
	}
}
