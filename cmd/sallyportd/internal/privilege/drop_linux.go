package privilege

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropAndReexec executes the same program again in this process, with no other
// capabilities than those to keep, no way to gain any, and as another user, with
// that user's groups, if one is given. It returns only if that fails.
func dropAndReexec(keep Set, who *identity, d descriptors) error {
	for _, fd := range d {
		if err := keepOpen(fd); err != nil {
			return err
		}
	}
	// After an execve, the process has the credentials of the thread that called it.
	runtime.LockOSThread()
	step := func(what string, err error) error {
		if err != nil {
			return fmt.Errorf("drop privileges: %s: %w", what, err)
		}
		return nil
	}
	if err := step("PR_SET_NO_NEW_PRIVS", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return err
	}
	if who != nil {
		if err := step("PR_SET_KEEPCAPS", unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)); err != nil {
			return err
		}
		// For this thread only: the syscall package's functions change all threads.
		groups := make([]uint32, len(who.groups)+1) // one more, so that &groups[0] exists
		for i, g := range who.groups {
			groups[i] = uint32(g)
		}
		if e := setGroups(groups, len(who.groups)); e != 0 {
			return step("setgroups", e)
		}
		for _, call := range []struct {
			name          string
			number        uintptr
			first, second uintptr
		}{
			{"setgid", unix.SYS_SETGID, uintptr(who.gid), 0},
			{"setuid", unix.SYS_SETUID, uintptr(who.uid), 0},
		} {
			if _, _, e := unix.RawSyscall(call.number, call.first, call.second, 0); e != 0 {
				return step(call.name, e)
			}
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(keep), uint32(keep>>32)
	data := [2]unix.CapUserData{{Effective: low, Permitted: low, Inheritable: low}, {Effective: high, Permitted: high, Inheritable: high}}
	if err := step("capset", unix.Capset(&header, &data[0])); err != nil {
		return err
	}
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil {
		return step("PR_CAP_AMBIENT_CLEAR_ALL", err)
	}
	for c := range 64 {
		if keep&(1<<c) == 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0)
		if err != nil {
			return step("PR_CAP_AMBIENT_RAISE", err)
		}
	}
	how := droppedStayed
	if who != nil {
		how = droppedSwitched
	}
	return step("execute", syscall.Exec("/proc/self/exe", os.Args, append(d.environment(), droppedVariable+"="+how)))
}

// setGroups sets the first n groups for this thread.
func setGroups(groups []uint32, n int) syscall.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(n), uintptr(unsafe.Pointer(&groups[0])), 0)
	return e
}

// dropHere drops all capabilities of this process, and verifies that. A program with cgo
// starts again without them, with the descriptors.
func dropHere(keep descriptors) error {
	err := dropAllThreads()
	if errors.Is(err, errors.ErrUnsupported) {
		return dropAndReexec(0, nil, keep)
	}
	if err != nil {
		return err
	}
	return verifyDropped(0)
}

// dropAllThreads drops all capabilities of this process. It returns
// errors.ErrUnsupported in a program with cgo.
func dropAllThreads() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // the kernel lowers the ambient set, too
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if e != 0 {
		return fmt.Errorf("drop privileges: capset: %w", e)
	}
	return nil
}
