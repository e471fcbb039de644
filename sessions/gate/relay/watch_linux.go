package relay

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// watchForReset calls f, once, if conn is reset or closed while no goroutine
// reads from it, until stop is called; after stop, f neither runs nor is
// called. f must not call stop. watchForReset uses conn's read deadline.
func watchForReset(conn stream, f func()) (stop func()) {
	return watchEnd(conn, func(reset bool) {
		if reset {
			f()
		}
	})
}

// watchEnd is watchForReset that calls f also, with reset false, if the other side of
// a Unix socket is closed in order. Over TCP that does not show.
func watchEnd(conn stream, f func(reset bool)) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, isUnix := conn.(*net.UnixConn)
		if closed, reset := waitForEnd(conn); reset || closed && isUnix {
			f(reset)
		}
	}()
	return func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		conn.SetReadDeadline(time.Time{})
	}
}

// waitForEnd waits until conn is reset or closed here, and returns reset true. It
// returns closed true after both directions have ended in order, and neither after
// its read deadline. It leaves data and a FIN for the next reader.
func waitForEnd(conn stream) (closed, reset bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, true
	}
	var events int16
	err = raw.Read(func(fd uintptr) bool {
		var end error
		events, end = pollEvents(int32(fd))
		return events != 0 || end != nil
	})
	return events&unix.POLLHUP != 0, events&unix.POLLERR != 0 || errors.Is(err, net.ErrClosed)
}

// pollEvents requests only the events that poll(2) always reports: POLLERR
// after a reset, POLLHUP alone when both directions are shut.
func pollEvents(fd int32) (int16, error) {
	fds := []unix.PollFd{{Fd: fd}}
	for {
		_, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return fds[0].Revents, err
		}
	}
}
