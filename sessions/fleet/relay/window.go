package relay

// windowSize is how far behind the highest counter a datagram may arrive.
const windowSize = 64

// window is the sliding window of the counters of one run (RFC 6479, with one word). The
// zero value has seen none.
type window struct {
	highest uint64
	seen    uint64 // bit i: highest - i
}

// windowFrom returns a window that accepts later counters only. Those before may have
// arrived at an earlier run of this gateway.
func windowFrom(n uint64) window { return window{n, ^uint64(0)} }

// accept reports whether a counter is new, and then counts as seen. Counters begin at 1.
func (w *window) accept(n uint64) bool {
	switch {
	case n == 0:
		return false
	case n > w.highest:
		if shift := n - w.highest; shift < windowSize {
			w.seen <<= shift
		} else {
			w.seen = 0
		}
		w.highest, w.seen = n, w.seen|1
		return true
	case w.highest-n >= windowSize:
		return false
	}
	bit := uint64(1) << (w.highest - n)
	if w.seen&bit != 0 {
		return false
	}
	w.seen |= bit
	return true
}
