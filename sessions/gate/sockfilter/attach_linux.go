package sockfilter

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Attach replaces the socket's filter by one for a set, in one step. If the set
// does not fit into a program, or into net.core.optmem_max, or if this process
// may not filter such a socket, all packets pass, and fits is false: the caller
// must then refuse strangers. After an error the old filter is still attached.
func Attach(c syscall.RawConn, s Set) (fits bool, err error) {
	program, fits := Program(s)
	if fits {
		if err = attach(c, program); errors.Is(err, unix.ENOMEM) {
			// Both the old and the new program must fit.
			if err = attach(c, denyAll); err == nil {
				err = attach(c, program)
			}
		}
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return false, nil
	case fits && !errors.Is(err, unix.ENOMEM):
		return err == nil, err
	}
	program, _ = Program(Set{Anyone: true})
	if err = attach(c, program); errors.Is(err, unix.EPERM) {
		return false, nil
	}
	return false, err
}

var denyAll, _ = Program(Set{})

// DenyAll is for net.ListenConfig.Control: no packet passes, from before the
// socket is bound. If this process may not filter such a socket, DenyAll does
// nothing.
func DenyAll(_, _ string, c syscall.RawConn) error {
	if err := attach(c, denyAll); !errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// Supported reports whether a process without capabilities may filter a TCP
// socket. Some kernels require CAP_NET_ADMIN (Linux 6.18.44 is one of them).
func Supported() bool {
	allowed := make(chan bool)
	onOwnThread(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			allowed <- false
			return
		}
		defer unix.Close(fd)
		allowed <- unix.Capset(&header, &none[0]) == nil && attachTo(fd, denyAll) == nil
	})
	return <-allowed
}

// onOwnThread runs f in a goroutine whose thread ends with it, so that f may change the
// thread's credentials. It is never the first thread of the process: that one would stay,
// and /proc shows its credentials as those of the process.
func onOwnThread(f func()) {
	begun := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(begun)
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f) // on another thread, since this goroutine has this one
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-begun
}

// Detach removes the filter that a connection has from its listener.
func Detach(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil // the listener has none
		}
		return os.NewSyscallError("setsockopt SO_DETACH_FILTER", err)
	})
}

func attach(c syscall.RawConn, program []bpf.Instruction) error {
	return control(c, func(fd int) error { return attachTo(fd, program) })
}

func attachTo(fd int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}
