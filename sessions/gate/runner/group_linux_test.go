package runner

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/program"
)

// testGroups makes a control group as package privilege does, for the next runner.
func testGroups(t *testing.T) *Group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a control group for another user")
	}
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/cgroup.procs"); err != nil {
		mount += "/unified"
	}
	root, err := os.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("sallyport-test-%d-%d", os.Getpid(), lastUID.Load())
	g, err := MakeGroup(root, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after that of the bench
		if err := errors.Join(g.End(killTime), RemoveGroup(root, name)); err != nil {
			t.Error(err)
		}
		g.Close()
		root.Close()
	})
	dir, uid := int(g.Dir.Fd()), int(lastUID.Load())+1
	err = errors.Join(unix.Mkdirat(dir, "runner", 0o755), unix.Fchownat(dir, "cgroup.procs", uid, uid, 0), unix.Fchown(dir, uid, uid))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// beginIn is begin, in a control group. The server gets copies of its files.
func beginIn(t *testing.T, g *Group, flags uintptr, p program.Program) *bench {
	t.Helper()
	ends, err := OpenGroup(g.Dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchIn(t, ends, flags, p)
	into, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d/runner/cgroup.procs", g.Dir.Fd()), os.O_WRONLY, 0)
	b.must(err)
	defer into.Close()
	_, err = into.WriteString(strconv.Itoa(b.pid))
	b.must(err)
	b.must(b.Begin(b.dir))
	return b
}

// hidden leaves the session, the environment and the parent of the program.
const hidden = `(env -i DIR=$DIR setsid setsid sh -c 'trap "" TERM; echo $$ > $DIR/pid; sleep 1000; :' &) ; `

// groups returns the control groups of runs.
func groups(t *testing.T, g *Group) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", g.Dir.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "run-") {
			names = append(names, e.Name())
		}
	}
	return names
}

func (b *bench) hiddenPID() int {
	b.Helper()
	pid, err := strconv.Atoi(b.await("pid"))
	b.must(err)
	return pid
}

// processOf returns a pidfd.
func processOf(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestGroupOfRun: each run has a control group, which is removed with it.
func TestGroupOfRun(t *testing.T) {
	g := testGroups(t)
	p := script(program.Server, hidden+`sleep 1000`)
	p.StopAfter = 20 * time.Millisecond
	b := beginIn(t, g, 0, p)
	r := b.start(program.Server)
	pid := b.hiddenPID()
	if got := groups(t, g); len(got) != 1 {
		t.Fatalf("control groups %v", got)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	b.must(err)
	if want := "/" + groups(t, g)[0] + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("expected %q in %q", want, text)
	}
	process := processOf(t, pid)
	r.Stop()
	b.end(r)
	if err := unix.PidfdSendSignal(process, 0, nil, 0); err != unix.ESRCH {
		t.Errorf("process %d: %v", pid, err)
	}
	if got := groups(t, g); len(got) != 0 {
		t.Errorf("control groups are left: %v", got)
	}
}

// TestGroupEnds: the server ends all processes of a runner that was killed together
// with the supervisor, whatever the processes have changed.
func TestGroupEnds(t *testing.T) {
	g := testGroups(t)
	b := beginIn(t, g, 0, script(program.Server, hidden+`sleep 1000`))
	r := b.start(program.Server)
	pid := b.hiddenPID()
	netns.Stop(b.T, b.pid) // it must not act before it dies
	b.kill("supervisor")
	b.must(unix.Kill(pid, 0))
	b.must(unix.Kill(b.pid, unix.SIGKILL))
	if err := b.end(r); !errors.Is(err, ErrLost) {
		t.Errorf("%v", err)
	}
	if some, err := g.Populated(); err != nil || some {
		t.Errorf("processes are left: %v", err)
	}
}
