package runner

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Group is a control group of version 2: the kernel kills all its processes at once,
// those of groups below it included. A process gets the group of the one that made it.
type Group struct {
	Dir    *os.File // of the control group; nil: this process only ends it
	Kill   *os.File // cgroup.kill, open for writing
	Events *os.File // cgroup.events
}

// errLeft means that processes that were killed have not ended yet.
var errLeft = errors.New("processes of a control group do not end")

// OpenGroup opens a control group below another one, or the other one itself: ".". It
// fails if the kernel cannot kill it, as before Linux 5.14.
func OpenGroup(parent *os.File, name string) (*Group, error) {
	dir, err := openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	g := &Group{Dir: dir}
	if g.Kill, err = openAt(dir, "cgroup.kill", unix.O_WRONLY); err == nil {
		g.Events, err = openAt(dir, "cgroup.events", unix.O_RDONLY)
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// MakeGroup makes a control group below another one.
func MakeGroup(parent *os.File, name string) (*Group, error) {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	g, err := OpenGroup(parent, name)
	if err != nil {
		RemoveGroup(parent, name)
	}
	return g, err
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// entry opens the file to which a supervisor writes to enter the group: /dev/null if
// there is no group, or it cannot be entered.
func (g *Group) entry() (*os.File, error) {
	if g != nil {
		if f, err := openAt(g.Dir, "cgroup.procs", unix.O_WRONLY); err == nil {
			return f, nil
		}
	}
	return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
}

// Populated reports whether a process of the group, or of one below it, has not ended.
// A zombie has.
func (g *Group) Populated() (bool, error) {
	b := make([]byte, 256)
	n, err := g.Events.ReadAt(b, 0)
	if n == 0 && err != nil {
		return false, err
	}
	return bytes.Contains(b[:n], []byte("populated 1")), nil
}

// End kills all processes of the group, and returns when none is left, or when the
// time is over. An error means that some may be left.
func (g *Group) End(within time.Duration) error {
	began := time.Now()
	for pause := minSweep; ; pause = min(2*pause, maxSweep) {
		if _, err := g.Kill.WriteString("1"); err != nil {
			return err
		}
		if some, err := g.Populated(); err != nil || !some {
			return err
		}
		if time.Since(began) > within {
			return errLeft
		}
		time.Sleep(pause)
	}
}

// Close closes the files, and leaves the group as it is.
func (g *Group) Close() {
	if g != nil {
		closeAll([]*os.File{g.Dir, g.Kill, g.Events})
	}
}

// RemoveGroup removes a control group without processes, and those below it, also if
// they belong to another user.
func RemoveGroup(parent *os.File, name string) error {
	err := unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	dir, failed := openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if failed != nil {
		return errors.Join(err, failed)
	}
	defer dir.Close()
	// Root may lack the capability to change the directory of another user, and have
	// the one to take it.
	unix.Fchown(int(dir.Fd()), os.Geteuid(), -1)
	entries, _ := dir.ReadDir(-1)
	for _, e := range entries {
		if e.IsDir() {
			RemoveGroup(dir, e.Name())
		}
	}
	return os.NewSyscallError("rmdir", unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR))
}

// enterGroup moves this process, a supervisor, into the control group of its run. A
// failure leaves it where it is: it kills all its processes itself.
func enterGroup() {
	unix.Write(groupFD, []byte("0"))
	unix.Close(groupFD)
}

// newGroup makes the control group of a run; nil: the host delegates none, or the
// user's programs have made it impossible.
func (r *running) newGroup() *Group {
	if r.Groups == nil {
		return nil
	}
	g, err := MakeGroup(r.Groups, r.groupName())
	if err != nil {
		return nil
	}
	return g
}

func (r *running) groupName() string { return "run-" + strconv.FormatUint(uint64(r.number), 10) }

// removeGroup ends the processes in the control group of a run, and removes it.
func (r *running) removeGroup(g *Group) error {
	if g == nil {
		return nil
	}
	defer g.Close()
	if err := g.End(killTime); err != nil {
		return err
	}
	return RemoveGroup(r.Groups, r.groupName())
}
