package web

import (
	"sync/atomic"
	"time"
)

// budget limits a rate: so many at once as in a second. It is safe for concurrent use.
type budget struct {
	pause time.Duration // between two, at the limit
	full  atomic.Int64  // when it is full again, in nanoseconds
}

func newBudget(perSecond int) *budget { return &budget{pause: time.Second / time.Duration(perSecond)} }

// take reports whether the rate permits one more, and counts it.
func (b *budget) take(now time.Time) bool {
	for {
		before := b.full.Load()
		full := max(before, now.UnixNano()) + int64(b.pause)
		if full-now.UnixNano() > int64(time.Second) {
			return false
		}
		if b.full.CompareAndSwap(before, full) {
			return true
		}
	}
}
