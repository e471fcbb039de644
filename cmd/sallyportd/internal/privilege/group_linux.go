package privilege

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/runner"
)

// runnerGroup is, below the control group for the programs of a user, the one that
// the runner is in. The user cannot freeze it.
const runnerGroup = "runner"

// maxGroups bounds the control groups of a user's programs: they use memory of the
// kernel.
const maxGroups = "1024"

// leftoverTime is how long processes that were killed may take to end.
const leftoverTime = 2 * time.Second

// delegated opens the control group of this process, if it may make others below it:
// systemd has marked it (Delegate=yes), or it is the root of a container.
func delegated() (*os.File, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	path := ""
	for line := range strings.Lines(string(text)) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = p
		}
	}
	if !strings.HasPrefix(path, "/") || strings.Contains(path+"/", "/../") {
		return nil, fmt.Errorf("/proc/self/cgroup: no control group of version 2 that this process can see: %q", path)
	}
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(mount, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		if path == "/" {
			// The root of the host has no type: it is not that of a container.
			if _, err := os.Stat(mount + "/cgroup.type"); err != nil {
				return nil, err
			}
		} else if !marked(mount + path) {
			return nil, errors.New("the control group is not delegated")
		}
		return os.Open(mount + path)
	}
	return nil, errors.New("no control groups of version 2")
}

// marked reports whether systemd has delegated a control group.
func marked(path string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		b := make([]byte, 8)
		if n, err := unix.Getxattr(path, name, b); err == nil && string(b[:n]) == "1" {
			return true
		}
	}
	return false
}

// programsGroup makes a control group for the programs of a user, and returns it
// locked. The lock ends with the server, which keeps cgroup.kill open: the user of the
// programs cannot open that file. Server is the number of the server's user.
func programsGroup(who identity, server int) (_ *runner.Group, err error) {
	own, err := delegated()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	prefix := fmt.Sprintf("programs-%d-", who.uid)
	removeLeftovers(own, prefix, who)
	g, name, err := makeGroup(own, prefix, who.gid)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.Close()
			runner.RemoveGroup(own, name)
		}
	}()
	dir := int(g.Dir.Fd())
	if err := lock(g); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(dir, runnerGroup, 0o755); err != nil {
		return nil, err
	}
	if err := writeIn(dir, "cgroup.max.descendants", maxGroups); err != nil {
		return nil, err
	}
	return g, hand(g, who, server)
}

func lock(g *runner.Group) error { return unix.Flock(int(g.Kill.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func writeIn(dir int, name, text string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// enterGroup moves this process, a runner that is still root, into its control group.
// If that fails, there is none.
func (in inheritance) enterGroup() {
	if fd, ok := in.descriptors[runnerGroups]; ok && writeIn(fd, runnerGroup+"/cgroup.procs", "0") != nil {
		unix.Close(fd)
		delete(in.descriptors, runnerGroups)
	}
}

// removeLeftovers ends what servers that were killed have left, together with their
// runners. A runner that lives stops its programs itself: its control group stays
// until the next start.
func removeLeftovers(own *os.File, prefix string, who identity) {
	entries, err := own.ReadDir(-1)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			removeLeftover(own, e.Name(), who)
		}
	}
}

func removeLeftover(own *os.File, name string, who identity) {
	g, err := runner.OpenGroup(own, name)
	if err != nil {
		return
	}
	defer g.Close()
	if lock(g) != nil {
		return // of a server that runs
	}
	if in, err := runner.OpenGroup(g.Dir, runnerGroup); err == nil {
		runs, err := in.Populated()
		in.Close()
		if runs || err != nil {
			return
		}
	}
	if g.End(leftoverTime) != nil || runner.RemoveGroup(own, name) == nil {
		return
	}
	// Programs have made groups below those of their runs, and only their user, or a
	// process with CAP_CHOWN, can remove these.
	who.as(func() { runner.RemoveGroup(own, name) })
	runner.RemoveGroup(own, name)
}
