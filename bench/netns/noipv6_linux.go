package netns

import (
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in the data of a seccomp filter, and its results: see seccomp(2).
const (
	seccompNumber   = 0
	seccompArgument = 16 // the lower half of the first argument, in little-endian order
	seccompErrno    = 0x00050000
	seccompAllow    = 0x7fff0000
)

// WithoutIPv6 makes this process, and all that it starts, as if the kernel had no
// IPv6 (ipv6.disable=1): sockets of the family fail with EAFNOSUPPORT. It lasts
// until the process ends, so the test must run in its own process: see Enter.
func WithoutIPv6(t testing.TB) {
	t.Helper()
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: seccompNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SOCKET, SkipTrue: 3},
		bpf.LoadAbsolute{Off: seccompArgument, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_INET6, SkipTrue: 1},
		bpf.RetConstant{Val: seccompErrno | uint32(unix.EAFNOSUPPORT)},
		bpf.RetConstant{Val: seccompAllow},
	})
	if err != nil {
		t.Fatal(err)
	}
	filters := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filters[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	of := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&of)))
	if errno != 0 {
		t.Skipf("this host forbids seccomp filters: %v", errno)
	}
}
