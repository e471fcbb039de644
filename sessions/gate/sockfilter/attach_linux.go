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

// Attach puts a set in force in place of the one before, in one step. If it
// does not fit into a program, or into net.core.optmem_max, or if this process
// may not filter such a socket, everybody is let through, and fits is false:
// the caller has to refuse strangers himself. With an error nothing has
// changed.
func Attach(c syscall.RawConn, s Set) (fits bool, err error) {
	program, fits := Program(s)
	if fits {
		if err = attach(c, program); errors.Is(err, unix.ENOMEM) {
			// There has to be room for the old one and the new one.
			if err = attach(c, nobody); err == nil {
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
	program, _ = Program(Set{All: true})
	if err = attach(c, program); errors.Is(err, unix.EPERM) {
		return false, nil
	}
	return false, err
}

var nobody, _ = Program(Set{})

// DenyAll is for net.ListenConfig.Control: it lets nobody through, from before
// the socket is bound. Where this process may not filter such a socket it does
// nothing.
func DenyAll(_, _ string, c syscall.RawConn) error {
	if err := attach(c, nobody); !errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// Supported reports whether a process without capabilities may filter a TCP
// socket. Some kernels let only CAP_NET_ADMIN (Linux 6.18.44 is one of them).
func Supported() bool {
	allowed := make(chan bool)
	go func() {
		// The thread ends with the goroutine, and the loss with the thread.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			allowed <- false
			return
		}
		defer unix.Close(fd)
		allowed <- unix.Capset(&header, &none[0]) == nil && attachTo(fd, nobody) == nil
	}()
	return <-allowed
}

// Detach takes the filter off a connection that has it from its listener.
func Detach(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil // its listener has none
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
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}
