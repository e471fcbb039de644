package privilege

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/runner"
)

// testGroup makes a control group for a test.
func testGroup(t *testing.T, name string) *runner.Group {
	t.Helper()
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		mount += "/unified"
	}
	root, err := os.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("sallyport-%s-%d", name, os.Getpid())
	g, err := runner.MakeGroup(root, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.End(time.Minute); err != nil {
			t.Error(err)
		}
		if err := runner.RemoveGroup(root, name); err != nil {
			t.Error(err)
		}
		g.Close()
		root.Close()
	})
	return g
}

// delegate starts a command in a control group that is marked as systemd does. A user
// other than root gets the control group, and the capabilities of the unit for programs.
func delegate(t *testing.T, cmd *exec.Cmd, uid int) *runner.Group {
	t.Helper()
	g := testGroup(t, fmt.Sprint("delegate-", uid))
	dir := int(g.Dir.Fd())
	if err := unix.Fsetxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: dir}
	if uid == 0 {
		return g
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_ADMIN}
	for _, file := range []string{".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := unix.Fchownat(dir, file, uid, uid, 0); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// TestLeftoverGroups: the next start ends what a server and a runner have left, unless
// the server, or the runner, still lives.
func TestLeftoverGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make control groups")
	}
	for _, row := range []struct {
		name           string
		server, runner bool // lives
		ends           bool
	}{{"nobody", false, false, true}, {"server", true, false, false}, {"runner", false, true, false}} {
		t.Run(row.name, func(t *testing.T) {
			own := testGroup(t, "leftover-"+row.name)
			g, err := runner.MakeGroup(own.Dir, "programs-4343-0")
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			run, err := runner.MakeGroup(g.Dir, "run-1")
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			if err := unix.Mkdirat(int(g.Dir.Fd()), runnerGroup, 0o755); err != nil {
				t.Fatal(err)
			}
			in, err := runner.OpenGroup(g.Dir, runnerGroup)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			start := func(in *runner.Group) *exec.Cmd {
				cmd := exec.Command("setsid", "sleep", "1000")
				cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(in.Dir.Fd())}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
				return cmd
			}
			start(run)
			if row.runner {
				start(in)
			}
			if row.server {
				if err := lock(g); err != nil {
					t.Fatal(err)
				}
			}
			again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", own.Dir.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			removeLeftovers(again, "programs-4343-", identity{4343, 4343, []int{4343}})
			some, err := own.Populated()
			if err != nil || some == row.ends {
				t.Errorf("processes are left: %t, %v", some, err)
			}
			if err := unix.Faccessat(int(own.Dir.Fd()), "programs-4343-0", unix.F_OK, 0); (err != nil) != row.ends {
				t.Errorf("the control group: %v", err)
			}
		})
	}
}
