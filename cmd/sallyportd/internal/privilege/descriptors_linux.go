package privilege

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
)

const (
	// variable holds the descriptors that this program inherits, as NAME=NUMBER
	// pairs with spaces between.
	variable = "SALLYPORTD_DESCRIPTORS"
	// droppedVariable is set, to one of the values below, if this process has
	// dropped its privileges.
	droppedVariable = "SALLYPORTD_DROPPED"
	droppedSwitched = "switched" // and switched to the user of the configuration
	droppedStayed   = "stayed"   // and kept the user that started it
)

// The names of descriptors.
const (
	socketName   = "socket"   // between server and holder
	lifelineName = "lifeline" // a pipe: the holder has one end as long as it lives
	capturerName = "capturer" // between server and capturer
	earlyPrefix  = "shield-"  // of a shield that was loaded before privileges were dropped
)

// descriptors are open files, by name.
type descriptors map[string]int

// environment returns this process's environment, with the descriptors for the
// next program.
func (d descriptors) environment() []string {
	pairs := make([]string, 0, len(d))
	for _, name := range slices.Sorted(maps.Keys(d)) {
		pairs = append(pairs, name+"="+strconv.Itoa(d[name]))
	}
	return append(os.Environ(), variable+"="+strings.Join(pairs, " "))
}

// inheritance is what this program inherits from the one that executed or
// started it.
type inheritance struct {
	descriptors
	dropped  bool // this process has dropped its privileges
	switched bool // and switched to the user of the configuration
}

// inherited takes over the inheritance; no other program inherits it again.
// Dropped is true only if this process has no other privileges than those to keep,
// and no way to gain any.
func inherited(keep Set) (in inheritance, err error) {
	nameProcess()
	text := os.Getenv(variable)
	how, dropped := os.LookupEnv(droppedVariable)
	os.Unsetenv(variable)
	os.Unsetenv(droppedVariable)
	if dropped {
		// Any program can set a variable.
		if err := verifyDropped(keep); err != nil {
			return in, err
		}
	}
	in = inheritance{descriptors{}, dropped, how == droppedSwitched}
	for _, pair := range strings.Fields(text) {
		name, number, _ := strings.Cut(pair, "=")
		fd, err := strconv.Atoi(number)
		if _, twice := in.descriptors[name]; err != nil || fd < 3 || twice {
			return in, fmt.Errorf("%s=%q: expected NAME=NUMBER pairs", variable, text)
		}
		unix.CloseOnExec(fd)
		in.descriptors[name] = fd
	}
	return in, nil
}

// nameProcess gives this process the name of its program in lists of processes,
// instead of the name of the link by which it was executed again. A failure
// matters to those lists only.
func nameProcess() { os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0) }

// verifyDropped fails if this process has more privileges than dropAndReexec
// leaves.
func verifyDropped(keep Set) error {
	has, err := held()
	if err != nil {
		return err
	}
	stays, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("read PR_GET_NO_NEW_PRIVS: %w", err)
	}
	if has&^keep != 0 || stays != 1 {
		return hint.With(fmt.Errorf("%s is set, but this process has privileges, or can gain some", droppedVariable), howDropped)
	}
	return nil
}

const howDropped = "unset this variable: the server sets it itself"

// verifyUser fails if this process does not run as the user of the configuration
// or, if it has switched users, has other groups than that user.
func (in inheritance) verifyUser(name string) error {
	if name == "" || !in.dropped {
		return nil
	}
	who, err := findUser("user", name)
	if err != nil {
		return err
	}
	is, err := current()
	if err != nil {
		return err
	}
	if is.uids != [3]int{who.uid, who.uid, who.uid} {
		return hint.With(fmt.Errorf("%s is set, but this process is not user %s: expected user ID %d, got %v",
			droppedVariable, name, who.uid, is.uids), howDropped)
	}
	slices.Sort(who.groups)
	sameGroups := is.gids == [3]int{who.gid, who.gid, who.gid} && slices.Equal(is.groups, who.groups)
	if in.switched && !sameGroups {
		return hint.With(fmt.Errorf("%s is set, but this process does not have the groups of user %s: expected %d and %v, got %v and %v",
			droppedVariable, name, who.gid, who.groups, is.gids, is.groups), howDropped)
	}
	return nil
}

// has reports whether a descriptor was inherited, and not yet taken over.
func (d descriptors) has(name string) bool { _, ok := d[name]; return ok }

// file returns an inherited descriptor as a file, once.
func (d descriptors) file(name string) (*os.File, error) {
	fd, ok := d[name]
	if !ok {
		return nil, fmt.Errorf("%s has no %s", variable, name)
	}
	delete(d, name)
	return os.NewFile(uintptr(fd), name), nil
}

// passFiles passes files to a command, by name.
func passFiles(cmd *exec.Cmd, files map[string]*os.File) {
	d := descriptors{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d[name] = 3 + len(cmd.ExtraFiles) // os/exec: entry i becomes descriptor 3+i
		cmd.ExtraFiles = append(cmd.ExtraFiles, files[name])
	}
	cmd.Env = d.environment()
}

// keepOpen lets the next program inherit a descriptor.
func keepOpen(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return os.NewSyscallError("fcntl", err)
}
