package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestNextSecond: the wait ends when the second does, and with its context.
func TestNextSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		for _, offset := range []time.Duration{0, 250 * time.Millisecond} {
			wall := func() time.Time { return time.Now().Add(offset) }
			before := wall()
			nextSecond(t.Context(), wall)
			if after := wall(); after.Unix() != before.Unix()+1 || after.Nanosecond() != 0 {
				t.Errorf("from %v to %v", before, after)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := time.Now()
		if nextSecond(ctx, time.Now); time.Now() != before {
			t.Error("the wait goes on without its context")
		}
	})
}
