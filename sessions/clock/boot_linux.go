package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// boottime returns the time since the host started, suspensions included.
func boottime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return time.Since(started) // Linux before 2.6.39
	}
	return time.Duration(ts.Nano())
}

var started = time.Now()
