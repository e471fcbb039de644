package prove

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newTestPoll(t *testing.T) *poll {
	p, err := newPoll()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// watched returns the other end of a connection that a poll watches as a ref.
func watched(t *testing.T, p *poll, r ref) (theirs int) {
	ours, theirs := pair(t)
	t.Cleanup(func() { unix.Close(ours); unix.Close(theirs) })
	if err := p.add(ours, r); err != nil {
		t.Fatal(err)
	}
	return theirs
}

// TestWake: wake ends the wait that runs, or the next one, whatever deadline is set before
// reset.
func TestWake(t *testing.T) {
	p := newTestPoll(t)
	p.wake()
	p.setDeadline(time.Time{})
	if e := p.wait(); len(e) != 0 {
		t.Errorf("%d events", len(e))
	}
	p.reset(false)
	p.setDeadline(time.Time{})
	waited := make(chan int)
	go func() { waited <- len(p.wait()) }()
	p.wake()
	if n := <-waited; n != 0 {
		t.Errorf("%d events", n)
	}
	p.reset(false)
	p.setDeadline(time.Time{})
	theirs := watched(t, p, ref{7, 8})
	if err := send(theirs, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if e := p.wait(); len(e) != 1 || e[0].Fd != 7 || e[0].Pad != 8 {
		t.Errorf("events %v", e)
	}
}

// TestWaitAtOnce: a wait that must not wait still returns the events, so that no stream of
// results keeps them back.
func TestWaitAtOnce(t *testing.T) {
	p := newTestPoll(t)
	theirs := watched(t, p, ref{7, 8})
	p.wake()
	p.reset(true)
	if e := p.wait(); len(e) != 0 {
		t.Errorf("%d events", len(e))
	}
	if err := send(theirs, []byte("x")); err != nil {
		t.Fatal(err)
	}
	p.wake()
	p.reset(true)
	if e := p.wait(); len(e) != 1 || e[0].Fd != 7 {
		t.Errorf("events %v", e)
	}
}
