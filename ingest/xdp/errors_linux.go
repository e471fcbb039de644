package xdp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// The reasons why a host, or an interface, cannot have the shield.
var (
	ErrPrivilege = errors.New("a privilege is missing")
	ErrKernel    = errors.New("the kernel does not support it")
	ErrProcessor = errors.New("there is no program for this processor")
	ErrBusy      = errors.New("another XDP program is attached")
	ErrEthernet  = errors.New("the interface has no Ethernet frames")
)

// causeOf returns the reason for which the verifier rejects the program, if it is
// another error. The library describes the functions to the verifier only if it can load
// a socket filter, which a BPF token may forbid. Without the description, the verifier
// follows each call, and requires CAP_PERFMON.
func causeOf(err error) error {
	var rejected *ebpf.VerifierError
	if !errors.As(err, &rejected) {
		return err
	}
	filter, cause := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if cause == nil {
		return errors.Join(err, filter.Close())
	}
	return fmt.Errorf("load a socket filter: %w", cause)
}

// arrayError is an error of an array, without the name of the array: the library creates
// all of them in random order, and one that none can be created is the same error each
// time. The server logs an error again if its text is another one.
type arrayError struct{ error }

func (e arrayError) Error() string {
	text := e.error.Error()
	return text[max(strings.Index(text, createArray), 0):]
}

func (e arrayError) Unwrap() error { return e.error }

const createArray = "map create: " // by the library

// explain adds the reason to an error of bpf(2).
func explain(err error) error {
	var rejected *ebpf.VerifierError
	switch {
	case errors.As(err, &rejected) && len(rejected.Log) > 0:
		return fmt.Errorf("%w: it rejects the program: %w", ErrKernel, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrPrivilege, forbidden(err))
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %w", ErrKernel, err)
	}
	return err
}

// forbidden returns which privilege is missing.
func forbidden(err error) error {
	// The library guesses at a limit that the required kernels do not apply to bpf(2).
	err = errors.New(strings.ReplaceAll(err.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", ""))
	if missing := missingCapability(); missing != "" {
		return errors.New(missing)
	}
	if !initialUsers() {
		// Here the capabilities count only with a token. The library finds it in a BPF file
		// system, and its error names what the token does not allow.
		return fmt.Errorf("CAP_BPF and CAP_NET_ADMIN in the host's user namespace, or a BPF token that allows this: %w", err)
	}
	return fmt.Errorf("the capabilities are there, but a filter of system calls (seccomp) or a security module forbids this: %w", err)
}

// initialUsers reports whether this process is in the user namespace of the host.
func initialUsers() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(text)), " ") == "0 0 4294967295"
}

// missingCapability returns the name of a capability that this thread lacks, or "".
func missingCapability() string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return ""
	}
	has := func(capability int) bool { return data[capability/32].Effective>>(capability%32)&1 != 0 }
	switch {
	case !has(unix.CAP_BPF) && !has(unix.CAP_SYS_ADMIN):
		return "CAP_BPF"
	case !has(unix.CAP_NET_ADMIN) && !has(unix.CAP_SYS_ADMIN):
		return "CAP_NET_ADMIN"
	}
	return ""
}

// realtime reports whether the kernel preempts the processing of frames.
func realtime() bool {
	var name unix.Utsname
	return unix.Uname(&name) == nil && bytes.Contains(name.Version[:], []byte("PREEMPT_RT"))
}
