package looks

import (
	"math"
	"slices"
	"time"
)

// Times are the quantiles of the times of answers, in microseconds.
type Times struct {
	P50 float64 `json:"p50_us"`
	P90 float64 `json:"p90_us"`
	P99 float64 `json:"p99_us"`
}

func timesOf(sorted []time.Duration) (t Times) {
	at := func(q float64) float64 {
		if len(sorted) == 0 {
			return 0
		}
		return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / float64(time.Microsecond)
	}
	return Times{at(0.5), at(0.9), at(0.99)}
}

// distance is the statistic of Kolmogorov and Smirnov: the largest difference of the two
// distribution functions of sorted samples.
func distance(a, b []time.Duration) (d float64) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		least := min(a[i], b[j])
		for i < len(a) && a[i] == least {
			i++
		}
		for j < len(b) && b[j] == least {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return d
}

// chance is the distance that two samples of one distribution exceed once in a thousand
// times.
func chance(n, m int) float64 {
	if n == 0 || m == 0 {
		return 1
	}
	return math.Sqrt(-math.Log(0.001/2) / 2 * float64(n+m) / float64(n) / float64(m))
}

func sorted(d []time.Duration) []time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d
}
