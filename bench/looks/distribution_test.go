package looks

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		a, b []time.Duration
		want float64
	}{
		{[]time.Duration{1, 2, 3, 4}, []time.Duration{1, 2, 3, 4}, 0},
		{[]time.Duration{1, 2}, []time.Duration{3, 4}, 1},
		{[]time.Duration{1, 1, 1, 3}, []time.Duration{1, 3, 3, 3}, 0.5},
		{[]time.Duration{1, 2, 3, 4}, []time.Duration{2, 3}, 0.25},
	} {
		if got := distance(row.a, row.b); got != row.want {
			t.Errorf("%v, %v: got %v, want %v", row.a, row.b, got, row.want)
		}
	}
	// Two samples of one distribution are below the bound, and those of two are not.
	random := rand.New(rand.NewPCG(1, 2))
	sample := func(above int64) (d []time.Duration) {
		for range 2000 {
			d = append(d, time.Duration(above+random.Int64N(1000)))
		}
		return sorted(d)
	}
	if one, bound := distance(sample(0), sample(0)), chance(2000, 2000); one > bound {
		t.Errorf("one distribution: %v above %v", one, bound)
	}
	if two, bound := distance(sample(0), sample(100)), chance(2000, 2000); two < bound {
		t.Errorf("two distributions: %v below %v", two, bound)
	}
}
