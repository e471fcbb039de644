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
	deadline time.Time
	woken    bool // wake was called since the last reset
	atOnce   bool // wait does not wait
	events   [64]unix.EpollEvent
	n        int
	read     func(uintptr) bool // fills events; made once, since a stranger's packet causes the call
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

func newPoll() (p *poll, err error) {
	p = &poll{epoll: -1}
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
// wait that runs. After wake, it has no effect before reset. The caller holds the lock of
// the Prover for it, for wake and for reset.
func (p *poll) setDeadline(t time.Time) {
	if p.deadline != t && !p.woken {
		p.deadline = t
		p.file.SetReadDeadline(t)
	}
}

// wake makes the wait that runs return, or else the next one. It makes no system call.
func (p *poll) wake() {
	p.setDeadline(past)
	p.woken = true
}

// reset ends the effect of wake. With atOnce, the next wait does not wait.
func (p *poll) reset(atOnce bool) { p.woken, p.atOnce = false, atOnce }

// wait waits until there is an event, the deadline is over, or wake is called. The events
// are valid until the next call. Only its caller may close the instance.
func (p *poll) wait() []unix.EpollEvent {
	p.n = 0
	if p.atOnce {
		p.read(uintptr(p.epoll))
	} else {
		p.raw.Read(p.read) // an error is that the deadline is over
	}
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

func (p *poll) close() {
	if p.file != nil {
		p.file.Close()
	} else if p.epoll >= 0 {
		unix.Close(p.epoll)
	}
}
