package faultcall

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Call chooses the calls of one system call.
type Call struct {
	Number   int // unix.SYS_…
	Argument int // the position of the argument that must have Value; -1: all calls
	Value    uint32
}

// order is the filter that Main installs.
type order struct {
	Socket string
	Calls  []Call
}

// ordered is the environment variable with an order.
const ordered = "SALLYPORT_TEST_FAULTCALL"

// Main becomes the program of the arguments, in a process that Prefix has started. In
// other processes it does nothing. TestMain must call it first.
func Main() {
	text := os.Getenv(ordered)
	if text == "" {
		return
	}
	os.Unsetenv(ordered)
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = become(o, os.Args[1:])
	}
	fmt.Fprintln(os.Stderr, "faultcall:", err)
	os.Exit(1)
}

func become(o order, words []string) error {
	runtime.LockOSThread() // the filter is of this thread, which becomes the program
	path, err := exec.LookPath(words[0])
	if err != nil {
		return err
	}
	test, err := net.Dial("unix", o.Socket)
	if err != nil {
		return err
	}
	listener, err := install(o.Calls)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(test, "%d %d\n", os.Getpid(), listener); err != nil {
		return err
	}
	if _, err := test.Read(make([]byte, 1)); err != nil { // until the test has the listener
		return err
	}
	return os.NewSyscallError("execve", syscall.Exec(path, words, os.Environ()))
}

// Offsets in the data of a seccomp filter: see seccomp(2).
const (
	seccompNumber    = 0
	seccompArguments = 16 // each has 8 bytes; the lower half is first
)

// install puts the filter before this thread.
func install(calls []Call) (listener int, err error) {
	ask, allow := bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	var text []bpf.Instruction
	for _, c := range calls {
		text = append(text, bpf.LoadAbsolute{Off: seccompNumber, Size: 4})
		if c.Argument < 0 {
			text = append(text, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.Number), SkipTrue: 1}, ask)
			continue
		}
		text = append(text, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.Number), SkipTrue: 3},
			bpf.LoadAbsolute{Off: seccompArguments + 8*uint32(c.Argument), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: c.Value, SkipTrue: 1}, ask)
	}
	raw, err := bpf.Assemble(append(text, allow))
	if err != nil {
		return 0, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, os.NewSyscallError("seccomp", errno)
	}
	return int(fd), nil
}
