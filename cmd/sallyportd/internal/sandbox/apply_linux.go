package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrUnsupported is wrapped by the error of Apply on a kernel, or a processor, for which
// there is no filter, or where the process may not install one. It then has none of ours,
// and can go on.
var ErrUnsupported = errors.New("no filter of system calls here")

// families are those of sockets of the server and of a holder.
var families = []int{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Server returns the profile of the process that reads the bytes of strangers. With other
// processes that it has started, it wakes runners by a signal, and the kernel sends one to
// each process at its end.
func Server(files Files, others bool) Profile {
	return Profile{Name: "server", Families: families, Files: files, Signals: others}
}

// Capturer is the profile of the process that captures packets. Its packet sockets are
// open before; it asks the kernel for interfaces, and opens no file.
var Capturer = Profile{Name: "capturer", Families: []int{unix.AF_UNIX, unix.AF_NETLINK}, NoFiles: true}

// Holder returns the profile of a holder of the firewall's table, with the shield or
// without.
func Holder(files Files, shield bool) Profile {
	return Profile{Name: "holder", Families: families, BPF: shield, Files: files}
}

// Apply installs the filter of a profile for all threads of this process, and sets
// no_new_privs. If it fails, the process is as before, except for no_new_privs.
func (p Profile) Apply() error {
	instructions := p.filter()
	if instructions == nil {
		return fmt.Errorf("%w: not on %s", ErrUnsupported, runtime.GOARCH)
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return fmt.Errorf("assemble the filter of system calls: %w", err)
	}
	return install(raw)
}

// install installs a filter. The kernel copies no_new_privs with it to all threads.
func install(raw []bpf.RawInstruction) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case e == unix.ENOSYS || e == unix.EINVAL || e == unix.EOPNOTSUPP || e == unix.EPERM: // EPERM: the filter of the unit, or of the container, forbids another one
		return fmt.Errorf("%w: seccomp: %w", ErrUnsupported, e)
	case e != 0:
		return fmt.Errorf("install the filter of system calls: seccomp: %w", e)
	case thread != 0:
		return fmt.Errorf("install the filter of system calls: thread %d has another one", thread)
	}
	return nil
}
