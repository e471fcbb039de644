package clock_test

import (
	"context"
	"testing"
	"time"

	"sallyport/sessions/clock"
)

// TestNoJump: a host that runs on, with its time unset, does not jump; who
// listens for it stops in time.
func TestNoJump(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	jumps, done := make(chan struct{}, 16), make(chan struct{})
	go func() {
		defer close(done)
		clock.System().OnJump(ctx, func() { jumps <- struct{}{} })
	}()
	select {
	case <-done:
		t.Fatal("the kernel cannot tell")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	<-done
	if len(jumps) > 1 { // a time server may set the time just now
		t.Errorf("%d jumps", len(jumps))
	}
}
