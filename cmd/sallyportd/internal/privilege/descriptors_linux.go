package privilege

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
)

const (
	// variable holds the descriptors that a program has been handed, as
	// NAME=NUMBER pairs with spaces between.
	variable = "SALLYPORTD_DESCRIPTORS"
	// droppedVariable is there if this process has dropped its privileges.
	droppedVariable = "SALLYPORTD_DROPPED"
)

// The names of descriptors.
const (
	socketName   = "socket"   // between server and holder
	lifelineName = "lifeline" // a pipe: the holder has one end as long as it lives
)

// descriptors are open files by their names.
type descriptors map[string]int

// environment is this process's, with the descriptors for the next program.
func (d descriptors) environment() []string {
	pairs := make([]string, 0, len(d))
	for _, name := range slices.Sorted(maps.Keys(d)) {
		pairs = append(pairs, name+"="+strconv.Itoa(d[name]))
	}
	return append(os.Environ(), variable+"="+strings.Join(pairs, " "))
}

// inherited takes over the descriptors that the program before has handed on,
// and reports whether it has dropped the privileges of this process: it has at
// most those to keep, and no way to gain any. No other program inherits either.
func inherited(keep Set) (d descriptors, dropped bool, err error) {
	text := os.Getenv(variable)
	_, dropped = os.LookupEnv(droppedVariable)
	os.Unsetenv(variable)
	os.Unsetenv(droppedVariable)
	if dropped {
		// Anyone may set a variable.
		if err := verifyDropped(keep); err != nil {
			return nil, false, err
		}
	}
	d = descriptors{}
	for _, pair := range strings.Fields(text) {
		name, number, _ := strings.Cut(pair, "=")
		fd, err := strconv.Atoi(number)
		if _, twice := d[name]; err != nil || fd < 3 || twice {
			return nil, dropped, fmt.Errorf("%s=%q: expected NAME=NUMBER pairs", variable, text)
		}
		unix.CloseOnExec(fd)
		d[name] = fd
	}
	return d, dropped, nil
}

// verifyDropped holds this process to what drop leaves.
func verifyDropped(keep Set) error {
	has, err := held()
	if err != nil {
		return err
	}
	stays, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("ask whether privileges can be gained: %w", err)
	}
	if has&^keep != 0 || stays != 1 {
		return hint.With(fmt.Errorf("%s is set, but this process has privileges", droppedVariable), "unset it: the server sets it for itself")
	}
	return nil
}

// file returns an inherited descriptor as a file, once.
func (d descriptors) file(name string) (*os.File, error) {
	fd, ok := d[name]
	if !ok {
		return nil, fmt.Errorf("%s has no %s", variable, name)
	}
	delete(d, name)
	return os.NewFile(uintptr(fd), name), nil
}

// hand gives files to a command by their names.
func hand(cmd *exec.Cmd, files map[string]*os.File) {
	d := descriptors{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d[name] = 3 + len(cmd.ExtraFiles) // os/exec: entry i becomes descriptor 3+i
		cmd.ExtraFiles = append(cmd.ExtraFiles, files[name])
	}
	cmd.Env = d.environment()
}

// keepOpen has a descriptor survive the execution of the next program.
func keepOpen(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return os.NewSyscallError("fcntl", err)
}
