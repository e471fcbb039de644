// Package clock provides the clocks of a host to the parts of the server that
// require a time, so that tests can set, suspend and stop them. The shipped
// programs use System.
package clock

import (
	"context"
	"time"
)

// Clock has the three clocks of one host. Its functions may be called
// concurrently.
type Clock struct {
	// Wall is the time of day, which clients and files use. It can be set
	// forward and back at any moment. Knocks, minutes and logs use it.
	Wall func() time.Time
	// Monotonic is never set, and stops while the host is suspended. The
	// timeouts of the kernel (nftables, sockets) use it.
	Monotonic func() time.Time
	// Boot is never set, and continues while the host is suspended
	// (CLOCK_BOOTTIME). Leases use it, so that a suspension does not make a
	// lease longer.
	Boot func() time.Time
	// OnJump calls f each time that the host resumes from a suspension, or the
	// time of day is set, until ctx ends: timers have stopped meanwhile, so an
	// event at a time of Boot or Wall may be due. It returns before ctx ends if
	// the host cannot detect jumps. nil: the host never can.
	OnJump func(ctx context.Context, f func())
}

// System returns the clocks of this host. Monotonic and Boot begin at the wall
// time of the call; only the difference between two of their readings has a
// meaning.
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
