package loglimit

import (
	"sync/atomic"
	"time"
)

const (
	// sharedSlots is how many lines all processes of a server may write in slotPause, and
	// ownSlots how many more its holder may: the processes that read strangers' packets
	// cannot use them up.
	sharedSlots = 7
	ownSlots    = 2
	// slotPause is the time between two lines of one slot. It is longer than a second, so
	// that also lines that a busy host delays are at most 9 in a second.
	slotPause = 1100 * time.Millisecond
)

// page has the times at which slots were used last, in nanoseconds of a clock that all
// processes share.
type page [sharedSlots]atomic.Int64

// Budget has the slots of a process: each is for one line in slotPause. It may be used by
// several processes and goroutines.
type Budget struct {
	shared *page
	own    []atomic.Int64
	now    func() int64 // of the clock of the page
}

// NewBudget returns the budget of a process that shares it with no other. Now is a clock
// that is never set.
func NewBudget(now func() time.Time) *Budget {
	return &Budget{new(page), make([]atomic.Int64, ownSlots), func() int64 { return now().UnixNano() }}
}

// claim takes a slot. If there is none, it returns how long it takes until there may be one.
func (b *Budget) claim() (wait time.Duration, ok bool) {
	now := b.now()
	soonest := int64(slotPause)
	try := func(slot *atomic.Int64) bool {
		for {
			used := slot.Load()
			// A time that is not over yet is not of this clock.
			if passed := now - used; used != 0 && passed >= 0 && passed < int64(slotPause) {
				soonest = min(soonest, int64(slotPause)-passed)
				return false
			}
			if slot.CompareAndSwap(used, now) {
				return true
			}
			now = b.now() // another process was faster
		}
	}
	for i := range b.own {
		if try(&b.own[i]) {
			return 0, true
		}
	}
	for i := range b.shared {
		if try(&b.shared[i]) {
			return 0, true
		}
	}
	return time.Duration(soonest), false
}
