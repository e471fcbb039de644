package runner

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/program"
)

// descendants returns the numbers of the children of a process that this process can
// see, and of their children, and so on.
func descendants(of int) (pids []int) {
	children, err := filepath.Glob("/proc/" + strconv.Itoa(of) + "/task/*/children")
	if err != nil {
		return nil
	}
	for _, path := range children {
		text, _ := os.ReadFile(path)
		for _, field := range bytes.Fields(text) {
			pid, _ := strconv.Atoi(string(field))
			pids = append(append(pids, pid), descendants(pid)...)
		}
	}
	return pids
}

// familyScript starts processes in several sessions, some of which ignore SIGTERM.
const familyScript = `
	setsid sh -c 'trap "" TERM; setsid sh -c "trap \"\" TERM; sleep 1000; :" & sleep 1000' &
	(setsid setsid sh -c 'sleep 1000; :' &)
	sleep 1000 & echo up > $DIR/up; `

// TestKilled: whichever process is killed, at any moment, no process is left. After
// the death of a supervisor, the runner starts further programs.
func TestKilled(t *testing.T) {
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("TEST_ROUNDS")); err == nil {
		rounds = n
	}
	for _, victim := range []string{"supervisor", "runner", "server", "program"} {
		t.Run(victim, func(t *testing.T) {
			eachWay(t, func(t *testing.T, flags uintptr) {
				for range rounds {
					text := familyScript + "wait"
					if victim == "program" {
						text = familyScript + "kill -9 $$"
					}
					p := script(program.Server, text)
					p.StopAfter = 20 * time.Millisecond
					b := begin(t, flags, p)
					r := b.start(program.Server)
					if rand.IntN(2) == 0 {
						b.await("up")
					}
					time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // any moment
					b.kill(victim)
					err := b.end(r)
					if victim == "runner" || victim == "server" {
						if !errors.Is(err, ErrLost) || !errors.Is(b.Err(), ErrLost) {
							t.Errorf("%v, %v", err, b.Err())
						}
						if _, err := b.Start(program.Request{Program: p.ID}); !errors.Is(err, ErrLost) {
							t.Errorf("start: %v", err)
						}
					} else if err == nil {
						t.Error("the run has no error")
					}
					// No waiting: the run has ended.
					if pids := processes(b.mark); len(pids) > 0 {
						t.Errorf("processes are left: %v", pids)
					}
					if victim == "supervisor" {
						again := b.start(program.Server)
						b.await("up")
						again.Stop()
						b.end(again)
					}
					b.close()
				}
			})
		})
	}
}

// kill kills a process of the bench, when there is one.
func (b *bench) kill(victim string) {
	b.Helper()
	switch victim {
	case "server": // the kernel closes its connection
		b.conn.Close()
		return
	case "runner":
		b.must(unix.Kill(b.pid, unix.SIGKILL))
		return
	case "program": // kills itself
		return
	}
	b.until("a "+victim, func() bool {
		for _, pid := range descendants(b.pid) {
			name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			if strings.Contains(string(name), superviseName) && unix.Kill(pid, unix.SIGKILL) == nil {
				return true
			}
		}
		return false
	})
}

// TestStoppedSupervisor: a program can stop its supervisor, which has the same user.
// It ends all the same.
func TestStoppedSupervisor(t *testing.T) {
	eachWay(t, func(t *testing.T, flags uintptr) {
		p := script(program.Server, `kill -STOP $PPID; echo up > $DIR/up; sleep 1000`)
		p.StopAfter, p.Env = 10*time.Millisecond, []string{testKillTime + "50ms"}
		b := begin(t, flags, p)
		r := b.start(program.Server)
		b.await("up")
		r.Stop()
		if err := b.end(r); err == nil || err.Error() != "its supervisor has ended" {
			t.Errorf("%v", err)
		}
		if pids := processes(b.mark); len(pids) > 0 {
			t.Errorf("processes are left: %v", pids)
		}
	})
}

// TestStoppedParents: a program can stop its supervisor, and its runner if it sees it.
// Neither keeps it running after its stop, nor after the runner's death.
func TestStoppedParents(t *testing.T) {
	const stopBoth = `kill -STOP $(cut -d " " -f 4 /proc/$PPID/stat) $PPID; echo up > $DIR/up; sleep 1000`
	for _, end := range []string{"stopped", "runner dies"} {
		t.Run(end, func(t *testing.T) {
			eachWay(t, func(t *testing.T, flags uintptr) {
				p := script(program.Server, stopBoth)
				p.StopAfter, p.Env = 10*time.Millisecond, []string{testKillTime + "50ms"}
				b := begin(t, flags, p)
				r := b.start(program.Server)
				b.await("up")
				if end == "stopped" {
					r.Stop()
				} else {
					b.kill("runner")
				}
				if err := b.end(r); err == nil {
					t.Error("the run has no error")
				}
				if pids := processes(b.mark); len(pids) > 0 {
					t.Errorf("processes are left: %v", pids)
				}
			})
		})
	}
}

// TestLeftovers: processes that have outlived their runner and supervisor, which were
// killed together, end before the next server of the instance starts a program. Those
// of another instance stay.
func TestLeftovers(t *testing.T) {
	p := script(program.Server, `(trap "" TERM; setsid sh -c "echo up > \$DIR/up; sleep 1000; :" &) ; sleep 1000`)
	p.StopAfter = 50 * time.Millisecond
	leave := func(b *bench) {
		b.start(program.Server)
		b.await("up")
		all := descendants(b.pid)
		netns.Stop(b.T, b.pid) // it must not act before it dies
		for _, pid := range all {
			name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			if strings.Contains(string(name), superviseName) {
				b.must(unix.Kill(pid, unix.SIGKILL))
			}
		}
		b.must(unix.Kill(b.pid, unix.SIGKILL))
	}
	b, other := newBench(t, 0, p), newBench(t, 0, p)
	b.must(b.Begin(b.dir))
	b.must(other.Begin(other.dir))
	uid := lastUID.Load()
	leave(b)
	leave(other)
	if len(processes(b.mark)) == 0 || len(processes(other.mark)) == 0 {
		t.Fatal("nothing is left to end")
	}
	for _, of := range []*bench{b, other} {
		// The user of the runner that left them.
		lastUID.Store(uid - 2)
		if of == other {
			lastUID.Store(uid - 1)
		}
		exit := script(program.OnOpen, `exit 0`)
		exit.StopAfter, exit.Env = 0, []string{testKillTime + "50ms"}
		next := newBench(t, 0, exit)
		next.must(next.Begin(of.dir))
		next.must(next.end(next.start(program.OnOpen)))
		if pids := processes(of.mark); len(pids) > 0 {
			t.Errorf("processes are left: %v", pids)
		}
		if of == b && len(processes(other.mark)) == 0 {
			t.Error("the processes of another instance have ended, too")
		}
		next.logged("programs of an earlier server still run")
	}
}

// TestNextServer: after a server was killed, its runner still stops a program. The next
// server starts none before that has ended.
func TestNextServer(t *testing.T) {
	for _, way := range isolations { // not parallel: the runners of a row have one user
		t.Run(way.name, func(t *testing.T) {
			p := script(program.Server, `trap "" TERM; echo up > $DIR/up; until [ -e $DIR/end ]; do sleep 0.05; done`)
			p.StopAfter = time.Hour
			b := begin(t, way.flags, p)
			b.start(program.Server)
			b.await("up")
			b.giveUp(nil) // as at the end of the server
			lastUID.Add(-1)
			exit := script(program.OnOpen, `echo up > $DIR/next`)
			exit.StopAfter = p.StopAfter
			next := newBench(t, way.flags, exit)
			next.must(next.Begin(b.dir))
			run := next.start(program.OnOpen)
			next.logged("programs of an earlier server still run")
			if _, err := os.Stat(filepath.Join(next.dir, "next")); err == nil {
				t.Error("a program was started before the earlier one has ended")
			}
			b.must(os.WriteFile(filepath.Join(b.dir, "end"), nil, 0o600))
			next.must(next.end(run))
			if pids := processes(b.mark); len(pids) > 0 {
				t.Errorf("processes of the earlier server are left: %v", pids)
			}
		})
	}
}

// TestManyRuns: runs leave no descriptor, process or zombie behind.
func TestManyRuns(t *testing.T) {
	b := begin(t, 0, script(program.OnOpen, `sleep 0 & exit 0`))
	for range 3 {
		b.must(b.end(b.start(program.OnOpen)))
	}
	before := descriptors(t, b.pid)
	for range manyRuns {
		b.must(b.end(b.start(program.OnOpen)))
	}
	if after := descriptors(t, b.pid); after > before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
	if left := descendants(b.pid); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		t.Skipf("not root: %v", err)
	}
	return len(entries)
}

// manyRuns is how often TestManyRuns runs a program.
var manyRuns = 25

func init() {
	if n, err := strconv.Atoi(os.Getenv("TEST_RUNS")); err == nil {
		manyRuns = n
	}
}
