package clock_test

import (
	"context"
	"testing"
	"time"

	"sallyport/sessions/clock"
)

// TestNoJump: a host that is not suspended, and whose time is not set, does not
// jump. OnJump returns when its context ends.
func TestNoJump(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	jumps, done := make(chan struct{}, 16), make(chan struct{})
	go func() {
		defer close(done)
		clock.System().OnJump(ctx, func() { jumps <- struct{}{} })
	}()
	select {
	case <-done:
		t.Fatal("the kernel cannot detect jumps")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	<-done
	if len(jumps) > 1 { // a time server may set the time just now
		t.Errorf("%d jumps", len(jumps))
	}
}
