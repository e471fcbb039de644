package clock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// farAhead is the timeout of the timer. The timer never expires: the kernel
// cancels it when the clock jumps.
const farAhead = 100 * 365 * 24 * time.Hour

// onJump calls f each time that the difference between the kernel's wall clock
// and its monotonic clock changes: the time was set, or the host has resumed from
// a suspension. It returns when ctx ends, or if the kernel cannot detect jumps.
func onJump(ctx context.Context, f func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	defer timer.Close()
	stop := context.AfterFunc(ctx, func() { timer.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		end := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(farAhead).UnixNano())}
		err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &end, nil)
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
		_, err = timer.Read(make([]byte, 8))
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, errors.Is(err, unix.ECANCELED):
			f()
		default:
			return
		}
	}
}
