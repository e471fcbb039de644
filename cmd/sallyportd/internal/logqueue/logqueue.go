// Package logqueue writes the log of a process that must not wait for it.
//
//	slog -> Write: append to the queue, or drop and count   (never blocks)
//	          -> a goroutine: whole lines -> the log's reader (may block, or fail)
//
// A reader of the log that stalls, a full disk, and a reader that has gone away
// cost lines, and nothing else. How many were lost stands in the log as soon as
// it takes lines again, and in a counter.
package logqueue

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// Capacity is how many bytes wait at most.
	Capacity = 256 << 10
	// chunk is how many bytes are written at a time, unless one line is longer:
	// what a pipe takes whole (PIPE_BUF), so that two processes that share one
	// do not mix their lines.
	chunk = 4096
	// retryPause is the time between two writes while they fail.
	retryPause = 100 * time.Millisecond
)

// Queue holds lines until the log's reader takes them. It implements io.Writer;
// each Write is a line. It may be used concurrently.
type Queue struct {
	out io.Writer

	mu      sync.Mutex
	waiting []byte
	lines   []int // the length of each line that waits
	closed  bool
	lost    uint64 // lines dropped since the start
	told    uint64 // of these, how many a line of the log has told of

	wake  chan struct{}
	ended chan struct{}
}

// New returns a logger that never blocks, and its queue. Close ends it.
func New(out io.Writer) (*slog.Logger, *Queue) {
	q := &Queue{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go q.run()
	return slog.New(slog.NewTextHandler(q, nil)), q
}

// Write takes a line, or drops it if there is no room. It never fails, so that
// the caller has nothing to wait for or to handle. It keeps no reference to p.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	if q.closed || len(q.waiting)+len(p) > Capacity {
		q.lost++
	} else {
		q.waiting = append(q.waiting, p...)
		q.lines = append(q.lines, len(p))
	}
	q.mu.Unlock()
	q.hurry()
	return len(p), nil
}

// Dropped returns how many lines were lost since the start.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// Close takes no more lines, and waits until those that wait are written, but
// at most for the given time. The writer, if it hangs, is left behind.
func (q *Queue) Close(wait time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.hurry()
	select {
	case <-q.ended:
	case <-time.After(wait):
	}
}

func (q *Queue) hurry() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes what waits until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.ended)
	var b []byte
	for {
		next := q.next(b[:0])
		b = next.text
		if len(b) == 0 {
			if next.closed {
				return
			}
			<-q.wake
			continue
		}
		_, err := q.out.Write(b)
		q.account(next, err)
		switch {
		case err == nil:
		case next.closed:
			return
		default:
			time.Sleep(retryPause) // what comes meanwhile waits
		}
	}
}

// part is what is written at a time.
type part struct {
	text   []byte
	lines  int    // of those that were queued
	tells  uint64 // of how many lost lines it tells first
	closed bool   // no line comes after those that wait
}

// next moves lines from the queue to a part, whose text is appended to b.
func (q *Queue) next(b []byte) part {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := part{text: b, closed: q.closed}
	if lost := q.lost - q.told; lost > 0 && (len(q.lines) > 0 || q.closed) {
		p.text, p.tells = append(p.text, notice(lost)...), lost
	}
	size := 0
	for _, n := range q.lines {
		if len(p.text)+size > 0 && len(p.text)+size+n > chunk {
			break
		}
		size += n
		p.lines++
	}
	p.text = append(p.text, q.waiting[:size]...)
	q.waiting = append(q.waiting[:0], q.waiting[size:]...)
	q.lines = append(q.lines[:0], q.lines[p.lines:]...)
	return p
}

// account counts the lines of a part as written or lost.
func (q *Queue) account(p part, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		q.lost += uint64(p.lines)
		return
	}
	q.told += p.tells
}

// notice is the line about lost lines.
func notice(n uint64) []byte {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Warn("log lines dropped", "lines", n)
	return b.Bytes()
}
