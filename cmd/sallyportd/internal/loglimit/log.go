package loglimit

import (
	"log/slog"
	"sync"
	"time"
)

// retryPause is the time between two writes while they fail.
const retryPause = 100 * time.Millisecond

// courtesy is how much longer a process that had the last slot waits for the next one: another
// one that waits for it is first. Each wait for the same slot halves it.
const courtesy = 32 * time.Millisecond

// stallTime is how long a write takes before Close regards the reader as stalled.
const stallTime = time.Second

// Config configures a Log.
type Config struct {
	// Write writes one line, and may block. Its attributes are numbers, truth values and
	// texts. It is called by one goroutine.
	Write func(slog.Record) error
	// Level is the lowest level of lines that are written.
	Level slog.Leveler
	// Now is a clock that is never set, and Wall the time of day.
	Now, Wall func() time.Time
	Budget    *Budget
}

// Log is a log that never makes its process wait. Its methods may be called concurrently.
type Log struct {
	*slog.Logger
	cfg Config

	mu      sync.Mutex
	room    *room
	dropped uint64    // lines that could not be written, since the start
	told    uint64    // of these, how many a line has reported
	retry   time.Time // when to try to report the others again
	writing bool      // the pump is in a call of Write
	writes  uint64    // how many calls of Write have begun
	looked  uint64    // writes, when Close looked last
	closing time.Time // zero: the log is open; else by when its lines are written

	wake  chan struct{}
	ended chan struct{}
}

// New returns a log. Close ends it.
func New(cfg Config) *Log {
	l := &Log{cfg: cfg, room: newRoom(), wake: make(chan struct{}, 1), ended: make(chan struct{})}
	l.Logger = slog.New(&handler{log: l})
	go l.run()
	return l
}

// LeftOut returns how many lines were left out since the start.
func (l *Log) LeftOut() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.room.total
}

// Dropped returns how many lines could not be written since the start.
func (l *Log) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Close leaves out further lines, and waits until those that wait are written, or for the
// given time; those of reserved kinds for the time of one slot longer. Then it reports those
// that were left out, which takes two slots at most. If one write takes longer than stallTime,
// Close returns, and the writer's goroutine keeps running.
func (l *Log) Close(wait time.Duration) {
	l.mu.Lock()
	if l.closing.IsZero() {
		l.closing = l.cfg.Now().Add(wait)
	}
	l.mu.Unlock()
	l.signal()
	look := time.NewTicker(stallTime / 10)
	defer look.Stop()
	over := time.NewTimer(wait + 4*slotPause) // other processes may have all slots
	defer over.Stop()
	for looks := 0; looks < 10; looks++ {
		select {
		case <-l.ended:
			return
		case <-over.C:
			return
		case <-look.C:
		}
		if !l.isWriting() {
			looks = -1
		}
	}
}

// isWriting reports whether the pump is in the call of Write in which it was at the last
// call of this function.
func (l *Log) isWriting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.writing && l.looked == l.writes
	l.looked = l.writes
	return same
}

func (l *Log) put(x line) {
	l.mu.Lock()
	now := l.cfg.Now()
	if l.closing.IsZero() {
		l.room.put(now, x)
	} else {
		l.room.leave(now, x.of)
	}
	l.mu.Unlock()
	l.signal()
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run is the pump.
func (l *Log) run() {
	defer close(l.ended)
	var later time.Duration
	for {
		ready, wait, last := l.ready()
		if !ready && last {
			return
		}
		if ready {
			var free bool
			if wait, free = l.cfg.Budget.claim(); free {
				l.writeNext()
				later = courtesy
				continue
			}
			wait += later
			later /= 2
		}
		l.sleep(wait, ready)
	}
}

// sleep waits for a time, or, if no line waits, for the next one. Zero: there is no time.
func (l *Log) sleep(wait time.Duration, slot bool) {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	if slot {
		<-over
		return
	}
	select {
	case <-l.wake:
	case <-over:
	}
}

// ready reports whether there is a line to write; if not, how long to wait for one (zero:
// until it comes), or that the log is closed and complete.
func (l *Log) ready() (ready bool, wait time.Duration, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	due, pending := l.room.due()
	if !l.closing.IsZero() {
		if !now.Before(l.closing) {
			l.room.leaveAll(now, !now.Before(l.closing.Add(slotPause)))
			_, pending = l.room.due()
		}
		return l.room.has(now) || pending || l.dropped > l.told, 0, true
	}
	untold := l.dropped > l.told
	if l.room.has(now) || untold && !now.Before(l.retry) {
		return true, 0, false
	}
	if untold {
		due, pending = l.retry, true
	}
	if pending {
		wait = max(due.Sub(now), time.Millisecond)
	}
	return false, wait, false
}

// writeNext writes one line, for which a slot is claimed.
func (l *Log) writeNext() {
	x, reports, ok := l.take()
	if !ok {
		return
	}
	err := l.cfg.Write(x.record)
	l.mu.Lock()
	l.writing = false
	closing := !l.closing.IsZero()
	switch {
	case err == nil:
		l.told += reports
	case reports == 0:
		l.dropped++
	}
	if err != nil {
		l.retry = l.cfg.Now().Add(time.Second)
	}
	if err != nil && closing { // the reader is gone
		l.room.leaveAll(l.cfg.Now(), true)
		l.room.summary(l.cfg.Now(), true)
		l.told = l.dropped
	}
	l.mu.Unlock()
	if err != nil && !closing {
		time.Sleep(retryPause) // lines wait meanwhile
	}
}

// take returns the next line to write. Reports: it is the one that reports so many
// dropped lines.
func (l *Log) take() (x line, reports uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	defer func() {
		if l.writing = ok; ok {
			l.writes++
		}
	}()
	if n := l.dropped - l.told; n > 0 {
		x.record = slog.NewRecord(l.cfg.Wall(), slog.LevelWarn, "log lines dropped", 0)
		x.record.AddAttrs(slog.Uint64("lines", n))
		return x, n, true
	}
	x, left, ok := l.room.next(now)
	if !ok && !l.closing.IsZero() {
		x, ok = l.room.summary(now, true)
	}
	if !ok {
		return x, 0, false
	}
	if x.record.Time.IsZero() {
		x.record.Time = l.cfg.Wall()
	}
	if left > 0 {
		x.record = withLeftOut(x.record, left)
	}
	return x, 0, true
}
