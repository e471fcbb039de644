// Package logqueue writes the log of a process that must not wait for its log.
//
//	slog -> Write: append to the queue, or drop and count   (never blocks)
//	          -> a goroutine: whole lines -> the log's reader (may block, or fail)
//
// If the reader of the log stalls or goes away, or the disk is full, lines are lost,
// and nothing else happens. A line reports how many were lost, as soon as lines can
// be written again, and a counter includes them.
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
	// chunk is how many bytes are written at a time, unless one line is longer: a
	// pipe accepts so many as a whole (PIPE_BUF), so that two processes that share
	// one do not mix their lines.
	chunk = 4096
	// retryPause is the time between two writes while they fail.
	retryPause = 100 * time.Millisecond
)

// Queue holds lines until they can be written. It implements io.Writer; each Write
// is one line. It may be used concurrently.
type Queue struct {
	out io.Writer

	mu       sync.Mutex
	waiting  []byte
	lines    []int // the length of each line that waits
	closed   bool
	lost     uint64 // lines dropped since the start
	reported uint64 // of these, how many a line has reported

	wake  chan struct{}
	ended chan struct{}
}

// New returns a logger of lines from a level on, which never blocks, and its queue.
// Close stops it.
func New(out io.Writer, level slog.Leveler) (*slog.Logger, *Queue) {
	q := &Queue{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go q.run()
	return slog.New(slog.NewTextHandler(q, &slog.HandlerOptions{Level: level})), q
}

// Write queues a line, or drops it if there is no room. It never blocks and never
// fails. It keeps no reference to p.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	if q.closed || len(q.waiting)+len(p) > Capacity {
		q.lost++
	} else {
		q.waiting = append(q.waiting, p...)
		q.lines = append(q.lines, len(p))
	}
	q.mu.Unlock()
	q.signal()
	return len(p), nil
}

// Dropped returns how many lines were dropped since the start.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// Close drops further lines, and waits until the queued ones are written, at most
// for the given time. If the writer hangs, its goroutine keeps running.
func (q *Queue) Close(wait time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
	select {
	case <-q.ended:
	case <-time.After(wait):
	}
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes queued lines until the queue is closed and empty.
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
			time.Sleep(retryPause) // lines queue up meanwhile
		}
	}
}

// part is the text of one write.
type part struct {
	text    []byte
	lines   int    // how many queued lines it has
	reports uint64 // how many lost lines its first line reports; 0: it has no such line
	closed  bool   // no line comes after the queued ones
}

// next moves lines from the queue to a part. It appends the text to b.
func (q *Queue) next(b []byte) part {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := part{text: b, closed: q.closed}
	if lost := q.lost - q.reported; lost > 0 && (len(q.lines) > 0 || q.closed) {
		p.text, p.reports = append(p.text, notice(lost)...), lost
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
	q.reported += p.reports
}

// notice returns the line that reports lost lines.
func notice(n uint64) []byte {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Warn("log lines dropped", "lines", n)
	return b.Bytes()
}
