//go:build !linux

package clock

import "time"

// boottime is the time since the program started: only the server needs that
// of the host, and it runs on Linux.
func boottime() time.Duration { return time.Since(started) }

var started = time.Now()
