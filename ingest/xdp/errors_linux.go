package xdp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
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

// explain adds the reason to an error of bpf(2).
func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		if missing := missingCapability(); missing != "" {
			return fmt.Errorf("%w: %s", ErrPrivilege, missing)
		}
		// In another user namespace, the capabilities do not count.
		return fmt.Errorf("%w: CAP_BPF and CAP_NET_ADMIN in the host's user namespace: %w", ErrPrivilege, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %w", ErrKernel, err)
	}
	return err
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
