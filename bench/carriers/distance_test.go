package carriers

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestCompare(t *testing.T) {
	for name, test := range map[string]struct {
		a, b []int64
		want Distance
	}{
		"equal":    {[]int64{3, 1, 2}, []int64{1, 2, 3}, Distance{0, 0.5, 1}},
		"apart":    {[]int64{1, 2}, []int64{3, 4}, Distance{1, 1, 2}},
		"reversed": {[]int64{3, 4}, []int64{1, 2}, Distance{1, 0, 0.5}},
		"ties":     {[]int64{1, 1, 2, 2}, []int64{1, 2, 2, 2}, Distance{0.25, 0.625, 1}},
		"sizes":    {[]int64{2}, []int64{1, 2, 3}, Distance{1. / 3, 0.5, 1}},
	} {
		got := Compare(test.a, test.b)
		if math.Abs(got.KS-test.want.KS) > 1e-12 || math.Abs(got.Larger-test.want.Larger) > 1e-12 || got.Medians != test.want.Medians {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// TestNoise: one distribution stays below the limit, and a shift of a fifth of its
// spread does not.
func TestNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sample := func(shift float64) (all []int64) {
		for range 4000 {
			all = append(all, int64(1e6*(random.NormFloat64()+shift)))
		}
		return all
	}
	if d := Compare(sample(0), sample(0)); d.KS > Noise(4000) {
		t.Errorf("two samples of one distribution: %+v, above %f", d, Noise(4000))
	}
	if d := Compare(sample(0), sample(0.2)); d.KS < Noise(4000) {
		t.Errorf("two different distributions: %+v, below %f", d, Noise(4000))
	}
}
