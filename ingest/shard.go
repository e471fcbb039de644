package ingest

import (
	"context"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"
	"golang.org/x/sys/cpu"

	"sallyport/verify"
)

// pushNap is how long a reader pauses while the ring of its shard is full. A task empties
// a ring of the smallest size in about a millisecond.
const pushNap = 50 * time.Microsecond

// shard queues and checks the batches of one reader. The reader calls next, push
// and pushWait, the drain task everything else. At most one task runs at a time.
type shard struct {
	queue    *ring // reader -> task
	free     *ring // task -> reader
	yieldAt  int   // the number of waiting batches from which the reader yields
	pool     *ants.Pool
	task     func()
	settings *atomic.Pointer[Settings]
	applied  *Settings // the settings that the verifier uses; belongs to the task
	verifier *verify.Verifier
	sink     Sink
	now      func() time.Time

	// Fields that are written often are on separate cache lines.
	// trace is the trace that runs, or nil. The rotation writes it.
	trace atomic.Pointer[Trace]

	_        cpu.CacheLinePad
	active   atomic.Bool // a drain task is submitted or running
	_        cpu.CacheLinePad
	received atomic.Uint64 // written by the reader
	dropped  atomic.Uint64 // written by the reader
	_        cpu.CacheLinePad
	reasons  [verify.NumReasons]atomic.Uint64 // written by the task

	candidates [batchSize]verify.Candidate // the task's
	places     [batchSize]int              // of the candidates in their batch
	explained  explained                   // the task's
	_          cpu.CacheLinePad
}

// newShard makes a shard whose queue has room for so many datagrams.
func newShard(
	pool *ants.Pool, settings *atomic.Pointer[Settings], sink Sink, now func() time.Time, datagrams int,
) *shard {
	size := ringSize(datagrams)
	s := &shard{
		queue: newRing(size), free: newRing(2 * size), pool: pool, yieldAt: min(size/2, yieldLimit),
		settings: settings, applied: settings.Load(), sink: sink, now: now,
	}
	s.verifier = verify.New(s.applied.Rules)
	s.task = s.drain
	for range size + ownBatches {
		b := new(batch)
		for i := range b.data {
			b.data[i][0] = 1 // so that the kernel provides the memory now, and not in a flood
		}
		s.free.push(b)
	}
	return s
}

// The labels of the stages in CPU profiles. Package sessions has "session".
var (
	labelReader = stage("reader")
	labelCheck  = stage("check")
	labelHMAC   = stage("hmac")
)

func stage(name string) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels("stage", name))
}

// next returns an empty batch. After each successful push there is one.
func (s *shard) next() *batch { return s.free.pop() }

// push puts a batch into the ring and returns true. If the ring is full, it
// counts the datagrams as dropped and returns false; the reader keeps the batch.
func (s *shard) push(b *batch) bool {
	s.received.Add(uint64(b.n))
	if !s.offer(b) {
		s.dropped.Add(uint64(b.n))
		return false
	}
	return true
}

// pushWait is push for batches that must not be dropped: it waits for room in the ring.
func (s *shard) pushWait(b *batch) {
	s.received.Add(uint64(b.n))
	for !s.offer(b) {
		runtime.Gosched()
		nap(pushNap)
	}
}

// offer puts a batch into the ring, if there is room, and starts the drain task.
func (s *shard) offer(b *batch) bool {
	// A reader that always finds datagrams never leaves its processor. With as
	// many readers as processors, the tasks would get no time.
	if s.queue.len() >= s.yieldAt {
		runtime.Gosched()
	}
	if !s.queue.push(b) {
		return false
	}
	s.wake()
	return true
}

// wake ensures that a task runs that sees every change made before the call.
func (s *shard) wake() {
	if s.active.CompareAndSwap(false, true) {
		// Submit fails only after the pool was released, when the receiver stops:
		// the batches stay in the ring.
		if s.pool.Submit(s.task) != nil {
			s.active.Store(false)
		}
	}
}

// yieldToTask yields the processor while a task is active.
func (s *shard) yieldToTask() {
	if s.active.Load() {
		runtime.Gosched()
	}
}

// backlogged reports whether many batches wait in the ring. Then the reader
// should fill its batch before it pushes it: with one datagram in each batch, a
// short burst over many ports would fill the ring.
func (s *shard) backlogged() bool { return s.queue.len() >= backlogLimit }

// drain checks batches until none is left.
func (s *shard) drain() {
	pprof.SetGoroutineLabels(labelCheck)
	for {
		s.applySettings()
		for b := s.queue.pop(); b != nil; b = s.queue.pop() {
			s.check(b)
			s.free.push(b)
		}
		applied := s.applied
		s.active.Store(false)
		// A push or a change before the store found an active task, and started
		// none: check again.
		if s.queue.empty() && s.settings.Load() == applied || !s.active.CompareAndSwap(false, true) {
			return
		}
	}
}

// applySettings makes the verifier use the settings that are in force.
func (s *shard) applySettings() {
	if current := s.settings.Load(); current != s.applied {
		s.applied = current
		s.verifier.SetRules(current.Rules)
		clear(s.candidates[:])
	}
}

// check makes all cheap checks of a batch before the first HMAC. So the code and
// data of each stage stay in the cache, and a profile shows the stages separately.
func (s *shard) check(b *batch) {
	s.applySettings()
	now, trace := s.now().Unix(), s.trace.Load()
	var reasons [verify.NumReasons]uint64
	found := 0
	for i := range b.n {
		reason := s.verifier.Precheck(&s.candidates[found], b.datagram(i), b.places[i], now)
		if reason != verify.Authentic {
			reasons[reason]++
			if trace != nil {
				trace.refused(s, b, i, now, reason)
			}
			continue
		}
		s.places[found] = i
		found++
	}
	if found > 0 {
		pprof.SetGoroutineLabels(labelHMAC)
		for i := range found {
			k, reason := s.verifier.Authenticate(&s.candidates[i], now)
			reasons[reason]++
			if reason == verify.Authentic {
				s.sink.Deliver(k, b.origins[s.places[i]].Addr())
			} else if trace != nil {
				trace.refused(s, b, s.places[i], now, reason)
			}
		}
		pprof.SetGoroutineLabels(labelCheck)
	}
	for r, n := range reasons {
		if n > 0 {
			s.reasons[r].Add(n)
		}
	}
}

// wait returns when no task is active. The reader must have stopped.
func (s *shard) wait() {
	for s.active.Load() {
		runtime.Gosched()
	}
}
