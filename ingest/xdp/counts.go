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

// Refused is the number of datagrams that broke a rule.
func (c Counts) Refused() uint64 { return sum(c[CountSize : CountAhead+1]) }

// Full is the number of datagrams for which a ring had no room.
func (c Counts) Full() uint64 { return c[CountShare] + c[CountFull] }

// Frames is the number of all frames that the program has seen.
func (c Counts) Frames() uint64 { return sum(c[:]) }

// Add returns the sums of both.
func (c Counts) Add(other Counts) Counts {
	for i, n := range other {
		c[i] += n
	}
	return c
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}
