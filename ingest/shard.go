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

// shard is where a reader's batches wait and are checked. The reader calls
// next and push, the drain task everything else; at most one task runs.
type shard struct {
	full     *ring // reader -> task
	free     *ring // task -> reader
	pool     *ants.Pool
	task     func()
	terms    *atomic.Pointer[Settings]
	inForce  *Settings // what the verifier was told last; the task's
	verifier *verify.Verifier
	sink     Sink
	now      func() time.Time

	// What is written often has cache lines of its own.
	_        cpu.CacheLinePad
	active   atomic.Bool // a drain task is submitted or running
	_        cpu.CacheLinePad
	received atomic.Uint64 // written by the reader
	dropped  atomic.Uint64 // written by the reader
	_        cpu.CacheLinePad
	reasons  [verify.NumReasons]atomic.Uint64 // written by the task

	candidates [batchSize]verify.Candidate // the task's
	places     [batchSize]int              // of the candidates in their batch
	_          cpu.CacheLinePad
}

func newShard(pool *ants.Pool, terms *atomic.Pointer[Settings], sink Sink, now func() time.Time) *shard {
	s := &shard{
		full: newRing(ringSize), free: newRing(2 * ringSize), pool: pool,
		terms: terms, inForce: terms.Load(), sink: sink, now: now,
	}
	s.verifier = verify.New(s.inForce.Rules)
	s.task = s.drain
	// Beside a full ring, one batch is with the reader and one with the task,
	// so that after a push there is always a free one.
	for range ringSize + 2 {
		s.free.push(new(batch))
	}
	return s
}

// The stages as CPU profiles name them: see sessions for "session".
var (
	labelReader = stage("reader")
	labelCheck  = stage("check")
	labelHMAC   = stage("hmac")
)

func stage(name string) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels("stage", name))
}

// next returns a batch to fill. There is one after each push that was taken.
func (s *shard) next() *batch { return s.free.pop() }

// push hands a filled batch on and reports true; with a full ring it drops
// the datagrams, counts them and leaves the batch with the reader.
func (s *shard) push(b *batch) bool {
	s.received.Add(uint64(b.n))
	if !s.offer(b) {
		s.dropped.Add(uint64(b.n))
		return false
	}
	return true
}

// pushPatiently is push for batches that cannot follow each other without end:
// it waits for room in the ring.
func (s *shard) pushPatiently(b *batch) {
	s.received.Add(uint64(b.n))
	for !s.offer(b) {
		runtime.Gosched()
	}
}

// offer puts a batch into the ring, if there is room, and has it drained.
func (s *shard) offer(b *batch) bool {
	// A reader that always finds datagrams never leaves its processor. Where
	// there are as many readers as processors, the tasks need to be let in.
	if s.full.len() >= ringSize/2 {
		runtime.Gosched()
	}
	if !s.full.push(b) {
		return false
	}
	s.wake()
	return true
}

// wake sees to it that a task runs which sees what was done before.
func (s *shard) wake() {
	if s.active.CompareAndSwap(false, true) {
		// A pool that was released means that we stop: what waits stays.
		if s.pool.Submit(s.task) != nil {
			s.active.Store(false)
		}
	}
}

// letRun gives the processor up while a task has something to do.
func (s *shard) letRun() {
	if s.active.Load() {
		runtime.Gosched()
	}
}

// crowded reports whether batches pile up in the ring. Then the reader should
// fill its batch before it pushes it: with one datagram each, a short burst
// over many ports would use up the ring.
func (s *shard) crowded() bool { return s.full.len() >= crowd }

// drain checks batches until none is left.
func (s *shard) drain() {
	pprof.SetGoroutineLabels(labelCheck)
	for {
		s.follow()
		for b := s.full.pop(); b != nil; b = s.full.pop() {
			s.check(b)
			s.free.push(b)
		}
		followed := s.inForce
		s.active.Store(false)
		// What was pushed or changed before the store has seen an active task.
		if s.full.empty() && s.terms.Load() == followed || !s.active.CompareAndSwap(false, true) {
			return
		}
	}
}

// follow holds what comes to the terms that are in force.
func (s *shard) follow() {
	if t := s.terms.Load(); t != s.inForce {
		s.inForce = t
		s.verifier.SetRules(t.Rules)
		clear(s.candidates[:])
	}
}

// check makes all cheap checks of a batch before the first HMAC: so each has
// its code and data at hand, and a profile tells them apart.
func (s *shard) check(b *batch) {
	s.follow()
	now := s.now().Unix()
	var reasons [verify.NumReasons]uint64
	found := 0
	for i := range b.n {
		reason := s.verifier.Precheck(&s.candidates[found], b.datagram(i), b.places[i], now)
		if reason != verify.Authentic {
			reasons[reason]++
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

// wait returns when no task is left. The reader must have stopped.
func (s *shard) wait() {
	for s.active.Load() {
		runtime.Gosched()
	}
}
