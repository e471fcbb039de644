package clock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// farAhead is when the timer would expire that is there to be cancelled.
const farAhead = 100 * 365 * 24 * time.Hour

// onJump calls f each time that the kernel's wall clock and its monotonic one
// come apart: the time was set, or the host was suspended and is awake again. It
// returns when ctx ends, or if the kernel cannot tell.
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
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &end, nil); err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
		_, err := timer.Read(make([]byte, 8))
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
