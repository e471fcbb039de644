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
func watchForReset(conn *net.TCPConn, f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if waitForReset(conn) {
			f()
		}
	}()
	return func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		conn.SetReadDeadline(time.Time{})
	}
}

// waitForReset waits until conn is reset or closed, and returns true. It
// returns false after both sides have ended the connection in order, or after
// its read deadline. It leaves data and a FIN for the next reader.
func waitForReset(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	var events int16
	err = raw.Read(func(fd uintptr) bool {
		var end error
		events, end = pollEvents(int32(fd))
		return events != 0 || end != nil
	})
	return events&unix.POLLERR != 0 || errors.Is(err, net.ErrClosed)
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
