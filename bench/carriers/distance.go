package carriers

import (
	"math"
	"slices"
)

// Distance is how far the distributions of two samples are apart. Both figures have the
// same values for any units.
type Distance struct {
	// KS is the statistic of Kolmogorov and Smirnov: the largest difference of the two
	// distribution functions, 0 to 1.
	KS float64
	// Larger is the share of all pairs in which the value of the second sample is larger,
	// an equal one counting half: the statistic of Mann and Whitney over the number of
	// pairs. 0.5: neither tends to be larger.
	Larger float64
	// Medians is the median of the second sample over that of the first.
	Medians float64
}

// Compare compares two samples, neither of which is empty. It sorts them.
func Compare(a, b []int64) (d Distance) {
	slices.Sort(a)
	slices.Sort(b)
	var pairs float64
	for i, j := 0, 0; i < len(a) || j < len(b); {
		var value int64
		if j == len(b) || i < len(a) && a[i] <= b[j] {
			value = a[i]
		} else {
			value = b[j]
		}
		before, ties := i, 0
		for ; i < len(a) && a[i] == value; i++ {
			ties++
		}
		for ; j < len(b) && b[j] == value; j++ {
			pairs += float64(before) + float64(ties)/2
		}
		d.KS = max(d.KS, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	d.Larger = pairs / float64(len(a)) / float64(len(b))
	d.Medians = float64(b[len(b)/2]) / float64(max(a[len(a)/2], 1))
	return d
}

// Noise returns the KS that two samples of n values each, of one distribution, exceed in
// one of a thousand comparisons.
func Noise(n int) float64 {
	return 1.95 * math.Sqrt(2/float64(n)) // the asymptotic distribution of Kolmogorov
}
