package xdp

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// taskForbidden loads the program under a filter of system calls, as those of container
// engines.
func taskForbidden() error {
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 4}, // the number of the call
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_BPF, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		return err
	}
	list := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		list[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	program := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	first := taskLoad()
	for range 20 {
		if again := taskLoad(); first != nil && again != nil && again.Error() != first.Error() {
			return fmt.Errorf("%w, and then: %w", first, again)
		}
	}
	return first
}

// TestForbidden: with both capabilities, the error names what else can forbid bpf(2). Its
// text is the same each time: the server logs another one again.
func TestForbidden(t *testing.T) {
	if !netns.Privileged() {
		t.Skip("needs the host's root")
	}
	line, _ := start(t, "forbidden", nil, "", unix.CAP_BPF, unix.CAP_NET_ADMIN)
	if !strings.Contains(line, ErrPrivilege.Error()) || !strings.Contains(line, "seccomp") || strings.Contains(line, "MEMLOCK") || strings.Contains(line, "and then") {
		t.Error(line)
	}
}

// TestRejected: the verifier's EACCES is no missing privilege.
func TestRejected(t *testing.T) {
	err := explain(fmt.Errorf("load program: %w", &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"R1 invalid mem access"}}))
	if !errors.Is(err, ErrKernel) || errors.Is(err, ErrPrivilege) {
		t.Error(err)
	}
}
