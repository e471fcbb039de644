package udp

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Waiter waits until any of its sockets is readable. One goroutine calls Wait,
// Next and Skip; any goroutine may call Add and Wake.
type Waiter struct {
	epoll, wake int
	n, next     int // the number of events of this round, and the index of the next one
	events      [256]unix.EpollEvent
}

// NewWaiter returns a Waiter without sockets.
func NewWaiter() (*Waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	w := &Waiter{epoll: epoll, wake: wake}
	if err := w.Add(wake); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Add adds a socket, which stays until it is closed.
func (w *Waiter) Add(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// Remove removes a socket that stays open in another process. Without that, its events
// would go on after it was closed here.
func (w *Waiter) Remove(fd int) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil))
}

// Wait begins a round: it waits until a socket is ready or Wake is called, for at
// most timeout, or without limit if timeout is negative. An interrupted Wait
// begins an empty round.
func (w *Waiter) Wait(timeout time.Duration) error {
	milliseconds := -1
	if timeout >= 0 {
		milliseconds = int(timeout.Milliseconds())
	}
	n, err := unix.EpollWait(w.epoll, w.events[:], milliseconds)
	w.n, w.next = max(n, 0), 0
	if err == unix.EINTR {
		return nil
	}
	return os.NewSyscallError("epoll_wait", err)
}

// Next returns the next socket of the round that is ready.
func (w *Waiter) Next() (fd int, ok bool) {
	for w.next < w.n {
		fd := int(w.events[w.next].Fd)
		w.next++
		if fd != w.wake {
			return fd, true
		}
		var count [8]byte
		unix.Read(w.wake, count[:])
	}
	return -1, false
}

// Skip ends the round. Sockets that Next has not returned are ready in the next
// round.
func (w *Waiter) Skip() {
	for {
		if _, ok := w.Next(); !ok {
			return
		}
	}
}

// Wake ends the running Wait, or else the next one. It cannot fail: the counter
// of an eventfd overflows only at 2^64.
func (w *Waiter) Wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(w.wake, one[:])
}

// Close frees the Waiter; the sockets stay open.
func (w *Waiter) Close() {
	unix.Close(w.wake)
	unix.Close(w.epoll)
}
