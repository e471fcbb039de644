package ingest

import "sync/atomic"

// ring is a bounded queue of batches with one producer and one consumer. It
// takes no lock; each end writes only its own index.
type ring struct {
	slots []*batch // the length is a power of two
	_     [64]byte // puts the two ends on separate cache lines
	head  atomic.Uint64
	_     [56]byte
	tail  atomic.Uint64
	_     [56]byte
}

// newRing makes a ring for size batches, a power of two.
func newRing(size int) *ring { return &ring{slots: make([]*batch, size)} }

// push appends a batch. It returns false if the ring is full.
func (r *ring) push(b *batch) bool {
	tail := r.tail.Load()
	if tail-r.head.Load() == uint64(len(r.slots)) {
		return false
	}
	r.slots[tail&uint64(len(r.slots)-1)] = b
	r.tail.Store(tail + 1)
	return true
}

// pop removes the oldest batch. It returns nil if the ring is empty.
func (r *ring) pop() *batch {
	head := r.head.Load()
	if head == r.tail.Load() {
		return nil
	}
	b := r.slots[head&uint64(len(r.slots)-1)]
	r.head.Store(head + 1)
	return b
}

func (r *ring) len() int { return int(r.tail.Load() - r.head.Load()) }

func (r *ring) empty() bool { return r.head.Load() == r.tail.Load() }

// waiting is len for any goroutine: the ends may move meanwhile.
func (r *ring) waiting() int {
	head := r.head.Load() // first: the tail is never behind it
	return min(int(r.tail.Load()-head), len(r.slots))
}
