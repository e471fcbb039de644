package privilege

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/runner"
)

// TestGroupsWithoutRoot: a server that is not root, and cannot change owners, gives the
// user of programs what the runner needs, and nothing else. No other user gets anything.
func TestGroupsWithoutRoot(t *testing.T) {
	const server, theirs, stranger = 7373, 7474, 7575
	if os.Getenv(stage) == "groups" {
		groupsWithoutRoot(t, server, identity{theirs, theirs, []int{theirs}}, identity{stranger, stranger, []int{stranger}})
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make control groups")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestGroupsWithoutRoot$", "-test.v")
	cmd.Env = append(os.Environ(), stage+"=groups")
	g := delegate(t, cmd, server)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", g.Dir.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("the control group %s is left", e.Name())
		}
	}
}

// groupsWithoutRoot is the server.
func groupsWithoutRoot(t *testing.T, server int, theirs, stranger identity) {
	g, err := programsGroup(theirs, server)
	if err != nil {
		t.Fatal(err)
	}
	dir := int(g.Dir.Fd())
	try := func(who identity, what string, want error, f func() error) {
		t.Helper()
		var err error
		if failed := who.as(func() { err = f() }); failed != nil {
			t.Fatal(failed)
		}
		if !errors.Is(err, want) {
			t.Errorf("user %d: %s: expected %v, got %v", who.uid, what, want, err)
		}
	}
	write := func(name string) func() error {
		return func() error {
			fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	run := func(name string) func() error { return func() error { return unix.Mkdirat(dir, name, 0o755) } }
	for _, name := range []string{"cgroup.kill", "cgroup.freeze", "cgroup.max.descendants", "cgroup.subtree_control", runnerGroup + "/cgroup.procs", runnerGroup + "/cgroup.freeze"} {
		try(theirs, name, unix.EACCES, write(name))
		try(stranger, name, unix.EACCES, write(name))
	}
	try(stranger, "cgroup.procs", unix.EACCES, write("cgroup.procs"))
	try(stranger, "a run", unix.EACCES, run("run-1"))
	try(theirs, "the mode", unix.EPERM, func() error { return unix.Fchmod(dir, 0o777) })
	try(theirs, "cgroup.procs", nil, write("cgroup.procs"))
	try(theirs, "a run", nil, run("run-1"))
	try(theirs, "kill it", nil, write("run-1/cgroup.kill"))
	try(theirs, "a group of a program", nil, run("run-1/more"))
	// The server has ended, and its runner too. The next start removes all of it.
	g.Close()
	if g, err = programsGroup(theirs, server); err != nil {
		t.Fatal(err)
	}
	if err := unix.Faccessat(int(g.Dir.Fd()), "run-1", unix.F_OK, 0); err != unix.ENOENT {
		t.Errorf("what is left of the earlier server: %v", err)
	}
	g.Close()
	own, err := delegated()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	removeLeftovers(own, fmt.Sprintf("programs-%d-", theirs.uid), theirs)
	sharedGroup(t, server, own)
}

// sharedGroup: other members of the group could move processes, so there is no control group.
func sharedGroup(t *testing.T, server int, own *os.File) {
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("this host has no user nobody")
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	g, err := programsGroup(identity{7676, gid, []int{gid}}, server)
	if err == nil || !strings.Contains(err.Error(), "has other members than its user") {
		g.Close()
		t.Errorf("a group with another member: %v", err)
	}
	if _, err := runner.OpenGroup(own, "programs-7676-0"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a control group is left: %v", err)
	}
}
