package ingest

import (
	"fmt"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"time"
)

// source delivers datagrams. Each source has one reader and one shard. Only the
// reader calls fill. close must be called last, when no goroutine calls fill or
// wake.
type source interface {
	// fill adds the datagrams that have arrived to the batch, as far as it has
	// room. If none has arrived, fill waits for at most the given time, or
	// without limit if that is negative, or until wake is called. After an error
	// the source delivers nothing. fill sets b.keep if it has added a datagram
	// that must not be dropped.
	fill(b *batch, wait time.Duration) error
	// wake ends the current wait of fill, or else the next one. Any goroutine may
	// call it.
	wake()
	// close frees the source.
	close()
}

// reader moves datagrams from a source to its shard. It runs on its own thread.
type reader struct {
	source   source
	shard    *shard
	batch    *batch
	stopping atomic.Bool
}

func newReader(src source, sh *shard) *reader {
	return &reader{source: src, shard: sh, batch: sh.next()}
}

// run reads until stop. Its thread ends with it. The source stays open.
func (r *reader) run() error {
	runtime.LockOSThread()
	pprof.SetGoroutineLabels(labelReader)
	for {
		// Loaded before fill: this fill, and the calls that follow without a pause,
		// drain the sockets that were removed before stop.
		stop := r.stopping.Load()
		if err := r.fill(); err != nil {
			return fmt.Errorf("wait for datagrams: %w", err)
		}
		kept := r.batch.keep
		if kept || r.batch.n == batchSize || !r.shard.backlogged() {
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
	// A waiting thread keeps its processor for up to 10 ms, until the runtime
	// takes it away. The task may need it.
	r.shard.yieldToTask()
	// A batch that was held back is pushed soon.
	if r.batch.n > 0 {
		return r.source.fill(r.batch, time.Millisecond)
	}
	return r.source.fill(r.batch, -1)
}

// flush pushes the batch if it is not empty. At a full ring its datagrams are
// dropped, unless batch.keep is set.
func (r *reader) flush() {
	switch {
	case r.batch.n == 0:
		return
	case r.batch.keep:
		r.shard.pushWait(r.batch)
		r.batch = r.shard.next()
	case r.shard.push(r.batch):
		r.batch = r.shard.next()
	}
	r.batch.n, r.batch.keep = 0, false
}

// stop ends run, after it has drained the sockets that were removed before.
func (r *reader) stop() {
	r.stopping.Store(true)
	r.source.wake()
}
