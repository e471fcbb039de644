package knocktime

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// prompt keeps the goroutine on a thread of its own, which comes before others
// when it wakes: as a real-time one, or for those who may not have that, by a
// short time slice. Where there is neither it is a thread like any other. It
// ends with the goroutine.
func prompt() {
	runtime.LockOSThread()
	if unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0) == nil {
		return
	}
	const slice = 100 * time.Microsecond
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Runtime: uint64(slice)}, 0)
}

// sleepUntil is finer than the runtime's timers, which may be late by a
// millisecond. It holds a thread, and is only for short times.
func sleepUntil(t time.Time) {
	for left := time.Until(t); left > 0; left = time.Until(t) {
		wait := unix.NsecToTimespec(left.Nanoseconds())
		// A signal ends it early.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &wait, nil)
	}
}
