package xdp

// Counts are the counters of the program, summed over the processors.
type Counts [NumCounts]uint64

// CountNames are the names of the counters, in their order. Those of refusals are the
// names of the same verify.Reason, as far as there is one.
var CountNames = [NumCounts]string{
	"other", "empty", "flow", "socket",
	"size", "magic", "malformed", "maximum", "sequence", "minute", "identifier", "below", "ahead",
	"share", "full", "ring",
}

// Add returns the sums of both.
func (c Counts) Add(other Counts) Counts {
	for i, n := range other {
		c[i] += n
	}
	return c
}
