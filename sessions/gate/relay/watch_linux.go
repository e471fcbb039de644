package relay

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// watch calls f, once, if conn is reset or closed while nobody reads from it,
// and until it is told to stop; then f is not called any more, nor running. It
// may not be stopped by f. It takes conn's read deadline.
func watch(conn *net.TCPConn, f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if broken(conn) {
			f()
		}
	}()
	return func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		conn.SetReadDeadline(time.Time{})
	}
}

// broken waits until conn is reset or closed: true. Once both sides have ended
// it in order, or its read deadline is over, it is false. Data and a FIN are
// left for who reads next.
func broken(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	var events int16
	err = raw.Read(func(fd uintptr) bool {
		var end error
		events, end = ended(int32(fd))
		return events != 0 || end != nil
	})
	return events&unix.POLLERR != 0 || errors.Is(err, net.ErrClosed)
}

// ended asks for nothing but what poll(2) always tells: POLLERR after a reset,
// POLLHUP alone when both directions are shut.
func ended(fd int32) (int16, error) {
	fds := []unix.PollFd{{Fd: fd}}
	for {
		_, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return fds[0].Revents, err
		}
	}
}
