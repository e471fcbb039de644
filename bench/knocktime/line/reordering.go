package line

import (
	"slices"
	"time"
)

// Reordering is what a model does to a burst of knocks.
type Reordering struct {
	Packets float64 // the share of packets that arrive after one that was sent later (RFC 4737)
	Bursts  float64 // the share of bursts with such a packet
}

// Reordering sends many bursts of knocks without a pause, and counts.
func (m Model) Reordering(l Line, burst, bursts int, seed uint64) (r Reordering) {
	arrivals := make([]time.Duration, 0, 2)
	for i := range bursts {
		p := NewPath(l, m, seed, uint64(i))
		var first []time.Duration // the first arrival of each packet that is not lost
		for range burst {
			if _, arrivals = p.Send(arrivals[:0], 0, KnockBytes); len(arrivals) > 0 {
				first = append(first, slices.Min(arrivals))
			}
		}
		reordered := 0
		for i, at := range first {
			if i < len(first)-1 && slices.Min(first[i+1:]) < at {
				reordered++
			}
		}
		if reordered > 0 {
			r.Bursts++
		}
		r.Packets += float64(reordered)
	}
	r.Bursts /= float64(bursts)
	r.Packets /= float64(bursts * burst)
	return r
}
