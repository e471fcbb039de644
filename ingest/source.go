package ingest

import (
	"fmt"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"time"
)

// source is a way in which datagrams arrive. Each has a reader, and a shard, of
// its own. Only the reader calls fill; close is called when no goroutine calls
// fill or wake any more.
type source interface {
	// fill adds datagrams that have arrived to the batch, as far as there is
	// room. If there is none, fill waits for at most the given time, or without
	// end if that is negative, or until wake is called. An error means that no
	// more will arrive. fill sets b.keep if it has added a datagram that must not
	// be dropped.
	fill(b *batch, wait time.Duration) error
	// wake ends the fill that is waiting, or else the next one that would. Any
	// goroutine may call it.
	wake()
	// close frees the source.
	close()
}

// reader takes datagrams from a source to its shard, on a thread of its own.
type reader struct {
	source   source
	shard    *shard
	batch    *batch
	stopping atomic.Bool
}

func newReader(src source, sh *shard) *reader {
	return &reader{source: src, shard: sh, batch: sh.next()}
}

// run reads until stop. The thread ends with it; the source stays open.
func (r *reader) run() error {
	runtime.LockOSThread()
	pprof.SetGoroutineLabels(labelReader)
	for {
		// Read before fill: sockets that were removed before stop was called are
		// emptied by this fill, and by those that follow without a pause.
		stop := r.stopping.Load()
		if err := r.fill(); err != nil {
			return fmt.Errorf("wait for datagrams: %w", err)
		}
		kept := r.batch.keep
		if kept || r.batch.n == batchSize || !r.shard.crowded() {
			r.flush()
		}
		if stop && !kept {
			r.flush()
			return nil
		}
	}
}

// fill adds datagrams that have arrived to the batch, or waits for some.
func (r *reader) fill() error {
	before := r.batch.n
	if err := r.source.fill(r.batch, 0); err != nil || r.batch.n > before || r.stopping.Load() {
		return err
	}
	// A thread that waits keeps its processor for up to 10 ms, until the runtime
	// takes it away: the task may be in need of it.
	r.shard.letRun()
	// A batch that was held back because the ring is crowded goes on soon.
	if r.batch.n > 0 {
		return r.source.fill(r.batch, time.Millisecond)
	}
	return r.source.fill(r.batch, -1)
}

// flush hands the batch on, if there is anything in it. At a full ring its
// datagrams are dropped, unless they are to be kept.
func (r *reader) flush() {
	switch {
	case r.batch.n == 0:
		return
	case r.batch.keep:
		r.shard.pushPatiently(r.batch)
		r.batch = r.shard.next()
	case r.shard.push(r.batch):
		r.batch = r.shard.next()
	}
	r.batch.n, r.batch.keep = 0, false
}

// stop ends run, after the sockets that were removed before have been emptied.
func (r *reader) stop() {
	r.stopping.Store(true)
	r.source.wake()
}
