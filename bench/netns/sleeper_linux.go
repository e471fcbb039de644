package netns

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// newSleeper returns a sleep that ends when the kernel's timer does. The runtime rounds its
// waits up to whole milliseconds, so that a round trip over two relays of 10 ms takes 21.5.
// One goroutine at a time may sleep. Without a timer of the kernel, the sleep is the
// runtime's.
func newSleeper() (sleep func(time.Duration), end func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return time.Sleep, func() {}
	}
	timer := os.NewFile(uintptr(fd), "timer")
	return func(d time.Duration) {
		if d <= 0 { // 0 would disarm the timer
			return
		}
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
		if unix.TimerfdSettime(fd, 0, &spec, nil) == nil {
			if _, err := timer.Read(make([]byte, 8)); err == nil {
				return
			}
		}
		time.Sleep(d)
	}, func() { timer.Close() }
}
