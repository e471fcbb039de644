package sessions

import (
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the classes of a Latency; a further class has all
// that takes longer.
var LatencyBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Latency is how long grants took, from the knock that completes an attempt, when its
// shard takes it from the queue, until the gate has opened.
type Latency struct {
	Counts [len(LatencyBounds) + 1]uint64 // of each class, without those of the earlier ones
	Sum    time.Duration
}

// latency counts while others read. One goroutine, the recorder's, adds.
type latency struct {
	counts [len(LatencyBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (l *latency) add(took time.Duration) {
	class := 0
	for class < len(LatencyBounds) && took > LatencyBounds[class] {
		class++
	}
	l.counts[class].Add(1)
	l.sum.Add(int64(max(took, 0)))
}

// Latency returns how long the grants since the start took.
func (s *Sessions) Latency() (l Latency) {
	for i := range l.Counts {
		l.Counts[i] = s.recorder.latency.counts[i].Load()
	}
	l.Sum = time.Duration(s.recorder.latency.sum.Load())
	return l
}

// Depth is how much waits in queues, and for how much there is room.
type Depth struct{ Waiting, Room int }

// Depths returns how many authenticated knocks wait for their shards, and how many grants
// for the record. Clients bound the latter, two for each: so Room is 0. It takes no
// lock of the way of a knock.
func (s *Sessions) Depths() (knocks, grants Depth) {
	for _, sh := range s.shards {
		knocks.Waiting += len(sh.queue)
		knocks.Room += cap(sh.queue)
		grants.Waiting += int(sh.grants.waiting.Load())
	}
	return knocks, grants
}
