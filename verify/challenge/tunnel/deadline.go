package tunnel

import (
	"sync"
	"time"
)

// deadline is a time that can be waited for, and replaced at any time.
type deadline struct{ *deadlineState }

type deadlineState struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // closed: the deadline has passed
	f     func()        // called when it passes; nil: nothing
}

func newDeadline() deadline { return deadline{&deadlineState{over: make(chan struct{})}} }

// set replaces the deadline; zero: none.
func (d deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // the timer is at its end, and closes it
	}
	d.timer = nil
	select {
	case <-d.over:
		d.over = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	over := d.over
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(over); d.call() })
	} else {
		close(over)
		if d.f != nil {
			go d.f()
		}
	}
}

func (d deadline) call() {
	d.mu.Lock()
	f := d.f
	d.mu.Unlock()
	if f != nil {
		f()
	}
}

// wait returns a channel that is closed when the deadline passes.
func (d deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

func (d deadline) passed() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}

// during calls f if the deadline passes before stop is called.
func (d deadline) during(f func()) (stop func()) {
	d.mu.Lock()
	d.f = f
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		d.f = nil
		d.mu.Unlock()
	}
}
