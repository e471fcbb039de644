package prove

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poll waits for many connections. The runtime's poller waits for the epoll instance, so
// that no thread does.
type poll struct {
	epoll    int
	file     *os.File // of epoll
	raw      syscall.RawConn
	event    int // an eventfd, which wakes wait
	deadline time.Time
	events   [64]unix.EpollEvent
	n        int
	read     func(uintptr) bool // fills events; made once, since a stranger's packet causes the call
}

// woken is the index of the eventfd in an event.
const woken = -1

func newPoll() (p *poll, err error) {
	p = &poll{epoll: -1, event: -1}
	defer func() {
		if err != nil {
			p.close()
			err = fmt.Errorf("wait for connections: %w", err)
		}
	}()
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(p.epoll, true); err != nil { // the mark for os.NewFile
		return nil, os.NewSyscallError("fcntl", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err = p.add(p.event, ref{index: woken}); err != nil {
		return nil, err
	}
	p.file = os.NewFile(uintptr(p.epoll), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, err
	}
	if err = p.file.SetReadDeadline(time.Time{}); err != nil { // the poller waits for it
		return nil, err
	}
	p.read = func(fd uintptr) bool {
		n, err := unix.EpollWait(int(fd), p.events[:], 0)
		p.n = max(n, 0)
		return p.n > 0 || err != nil && err != unix.EINTR
	}
	return p, nil
}

// setDeadline sets when wait returns without an event; zero: never. It also applies to a
// wait that runs.
func (p *poll) setDeadline(t time.Time) {
	if p.deadline != t {
		p.deadline = t
		p.file.SetReadDeadline(t)
	}
}

// wait waits until there is an event, or the deadline is over. The events are valid until
// the next call. Only its caller may close the instance.
func (p *poll) wait() []unix.EpollEvent {
	p.n = 0
	p.raw.Read(p.read) // an error is that the deadline is over
	return p.events[:p.n]
}

// add makes wait report when bytes have come for a descriptor, once for each time that
// some come, and at once if some have come before.
func (p *poll) add(fd int, r ref) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: r.index, Pad: int32(r.turn)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &e))
}

// remove ends the reports for a descriptor. A descriptor that is closed, and was not
// duplicated, need not be removed.
func (p *poll) remove(fd int) { unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

var one = []byte{0: 1, 7: 1} // in the order of any host, a number that is not zero

// wake makes wait return.
func (p *poll) wake() { unix.Write(p.event, one) }

// drain ends the effect of wake.
func (p *poll) drain() {
	var b [8]byte
	unix.Read(p.event, b[:])
}

func (p *poll) close() {
	if p.file != nil {
		p.file.Close()
	} else if p.epoll >= 0 {
		unix.Close(p.epoll)
	}
	if p.event >= 0 {
		unix.Close(p.event)
	}
}
