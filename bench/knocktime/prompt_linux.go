package knocktime

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Prompt locks the goroutine to a thread that runs soon after it wakes: with a
// real-time priority, or, if that is not permitted, with a short time slice. If
// the kernel has neither, the thread is an ordinary one. It ends with the
// goroutine.
func Prompt() {
	runtime.LockOSThread()
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if unix.SchedSetAttr(0, attr, 0) == nil {
		return
	}
	const slice = 100 * time.Microsecond
	attr = &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Runtime: uint64(slice)}
	_ = unix.SchedSetAttr(0, attr, 0)
}

// sleepUntil is more precise than the runtime's timers, which can be late by a
// millisecond. It occupies a thread, so it is only for short times.
func sleepUntil(t time.Time) {
	for left := time.Until(t); left > 0; left = time.Until(t) {
		wait := unix.NsecToTimespec(left.Nanoseconds())
		// A signal may end the sleep early.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &wait, nil)
	}
}
