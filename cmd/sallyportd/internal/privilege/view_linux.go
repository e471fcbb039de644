package privilege

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrCannotView means that this process cannot act as another user.
var ErrCannotView = errors.New("cannot act as another user")

// UserView calls f with the effective user and groups that a server of this
// configuration would have, and without capabilities. It does nothing if this
// process would not switch to another user. It fails if there is no such user.
func UserView(name string, f func()) error {
	if name == "" {
		return nil
	}
	who, err := findUser("user", name)
	if err != nil || os.Geteuid() != 0 || who.uid == 0 {
		return err
	}
	return who.as(f)
}

// as calls f with the effective user and groups of an identity, and without
// capabilities.
func (who identity) as(f func()) error {
	done := make(chan error, 1)
	go func() {
		// The thread ends with the goroutine: no other goroutine runs as this user.
		runtime.LockOSThread()
		err := who.view()
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	return <-done
}

// view gives this thread the effective IDs of a user. The real and saved ones
// stay, so that no process of the user can signal the thread.
func (who identity) view() error {
	const same = ^uintptr(0)
	groups := make([]uint32, len(who.groups)+1) // one more, so that &groups[0] exists
	for i, g := range who.groups {
		groups[i] = uint32(g)
	}
	// For this thread only: the syscall package's functions change all threads.
	if e := setGroups(groups, len(who.groups)); e != 0 {
		return fmt.Errorf("%w: setgroups: %w", ErrCannotView, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, same, uintptr(who.gid), same); e != 0 {
		return fmt.Errorf("%w: setresgid: %w", ErrCannotView, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(who.uid), same); e != 0 {
		return fmt.Errorf("%w: setresuid: %w", ErrCannotView, e)
	}
	return nil
}

// GroupNames returns the groups of a user, for a hint.
func GroupNames(name string) (names []string) {
	who, err := findUser("user", name)
	if err != nil {
		return nil
	}
	for _, g := range who.groups {
		names = append(names, groupName(g))
	}
	return names
}
