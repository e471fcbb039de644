package forward

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchEnd calls f, once, while no goroutine reads from conn, until the caller calls
// stop: with reset if conn is reset, and without if the program at a Unix socket has
// closed it. Over TCP, that does not show. It uses the read deadline of conn.
func watchEnd(conn Conn, f func(reset bool)) (stop func()) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, isUnix := conn.(*net.UnixConn)
		if closed, reset := waitForEnd(socket); reset || closed && isUnix {
			f(reset)
		}
	}()
	return func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}

// waitForEnd waits until conn is reset or closed here, and returns reset true. It
// returns closed true after both directions have ended in order, and neither after its
// read deadline.
func waitForEnd(conn syscall.Conn) (closed, reset bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, true
	}
	var events int16
	err = raw.Read(func(fd uintptr) bool {
		var failed error
		events, failed = pollEvents(int32(fd))
		return events != 0 || failed != nil
	})
	return events&unix.POLLHUP != 0, events&unix.POLLERR != 0 || errors.Is(err, net.ErrClosed)
}

// pollEvents requests only the events that poll(2) always reports: POLLERR after a
// reset, POLLHUP when both directions are shut.
func pollEvents(fd int32) (int16, error) {
	fds := []unix.PollFd{{Fd: fd}}
	for {
		_, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return fds[0].Revents, err
		}
	}
}
