// Package clock hands time to the parts of the server that decide by it, so
// that tests can step, suspend and stop it. The shipped programs use System.
package clock

import (
	"context"
	"time"
)

// Clock is the time of one host, on three axes. Its functions may be called
// concurrently.
type Clock struct {
	// Wall is the time of day, as clients and files have it. It can be set
	// forward and back at any moment. Knocks, minutes and logs go by it.
	Wall func() time.Time
	// Monotonic is never set, and stands still while the host is suspended: the
	// kernel's own timeouts (nftables, sockets) go by it.
	Monotonic func() time.Time
	// Boot is never set, and runs on while the host is suspended
	// (CLOCK_BOOTTIME). Leases go by it: a lid that is closed must not
	// lengthen one.
	Boot func() time.Time
	// OnJump calls f when the host has woken up, or the time of day was set,
	// until ctx ends: timers have stood still, and what goes by Boot or Wall may
	// be due. It may return early, if the host cannot tell. nil: it never can.
	OnJump func(ctx context.Context, f func())
}

// System returns the clocks of this host. Monotonic and Boot begin at the wall
// time of the call; only the difference of two of their readings has a meaning.
func System() Clock {
	start := time.Now()
	wall, boot := start.Round(0), boottime()
	return Clock{
		Wall:      time.Now,
		Monotonic: func() time.Time { return wall.Add(time.Since(start)) },
		Boot:      func() time.Time { return wall.Add(boottime() - boot) },
		OnJump:    onJump,
	}
}
