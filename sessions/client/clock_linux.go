package client

import "golang.org/x/sys/unix"

// ClockState returns whether a time service synchronises the clock, from the kernel.
func ClockState() Clock {
	var t unix.Timex // reads only
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return ClockUnknown
	}
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return ClockUnsynchronised
	}
	return ClockSynchronised
}
