package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/program"
)

// testRunner is set in the process of a runner, which is this test binary again.
const testRunner = "TEST_RUNNER"

// testGroup is set if the runner has inherited a control group.
const testGroup = "TEST_GROUP"

// testUID is the user to run as, if root runs the test.
const testUID = "TEST_UID"

// testFiles is the limit of open files of the runner, if it is set.
const testFiles = "TEST_FILES"

// testKillTime begins a variable of a program: the killTime of its runner.
const testKillTime = "KILL_TIME="

// lastUID is the user of the last runner: each has another one.
var lastUID atomic.Int32

func init() { lastUID.Store(int32(20_000 + os.Getpid()%40_000)) }

func TestMain(m *testing.M) {
	Helper()
	if os.Getenv(testRunner) != "" {
		os.Unsetenv(testRunner)
		if err := serveTest(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	race.Children()
	os.Exit(m.Run())
}

// serveTest is the process of a runner, as package privilege runs it.
func serveTest() error {
	if os.Getpid() == 1 {
		err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, ""))
		if err != nil {
			return err
		}
	}
	// Limits do not bind root.
	if uid, err := strconv.Atoi(os.Getenv(testUID)); err == nil {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
			return err
		}
	}
	os.Unsetenv(testUID)
	if n, err := strconv.ParseUint(os.Getenv(testFiles), 10, 64); err == nil {
		if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return err
		}
	}
	os.Unsetenv(testFiles)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	programs, err := ReadPolicy(4)
	if err != nil {
		return err
	}
	// A supervisor that works has all the time that it requires on a busy machine.
	killTime = time.Hour
	for _, p := range programs {
		for _, pair := range p.Env {
			if text, ok := strings.CutPrefix(pair, testKillTime); ok {
				if killTime, err = time.ParseDuration(text); err != nil {
					return err
				}
			}
		}
	}
	for fd := 3; fd < 6; fd++ {
		unix.CloseOnExec(fd)
	}
	var groups *os.File
	if os.Getenv(testGroup) != "" {
		groups = os.NewFile(6, "groups")
		unix.CloseOnExec(6)
	}
	os.Unsetenv(testGroup)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGUSR1, syscall.SIGUSR2) // before a test knows this process
	go limitDescriptors(received, log)
	return Serve(os.NewFile(3, "server"), Config{Programs: programs, Lifeline: os.NewFile(5, "lifeline"), Groups: groups, Clock: clock.System(), Log: log})
}

// limitDescriptors takes the room for new descriptors away from the process at SIGUSR1,
// and gives it back at SIGUSR2. No other process may do that to the runner.
func limitDescriptors(received <-chan os.Signal, log *slog.Logger) {
	for s := range received {
		var limit syscall.Rlimit
		err := syscall.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		limit.Cur = limit.Max
		if s == syscall.SIGUSR1 {
			limit.Cur = 0
		}
		log.Info("room", "descriptors", limit.Cur, "error", errors.Join(err, syscall.Setrlimit(unix.RLIMIT_NOFILE, &limit)))
	}
}

// bench is a runner in another process, and the lines that it has logged.
type bench struct {
	*testing.T
	*Conn
	dir     string
	pid     int
	process int // a pidfd of it: another process may have its number later
	log     lockedBuffer
	mark    string // in the environment of all its programs
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // not embedded: io.Copy would find its ReadFrom
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// isolations are the ways in which a runner may run.
var isolations = []struct {
	name  string
	flags uintptr
}{{"plain", 0}, {"namespace", unix.CLONE_NEWPID | unix.CLONE_NEWNS}}

// eachWay runs a test with and without a namespace of processes.
func eachWay(t *testing.T, f func(t *testing.T, flags uintptr)) {
	t.Helper()
	for _, way := range isolations {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			f(t, way.flags)
		})
	}
}

// script returns a program that runs a script of the shell.
func script(role program.Role, text string, args ...string) program.Program {
	return program.Program{
		ID: program.ID{Service: "site", Role: role}, User: "nobody",
		Args: append([]string{"/bin/sh", "-c", text, "script"}, args...), Dir: "/", StopAfter: 5 * time.Second,
	}
}

// newBench starts a runner.
func newBench(t *testing.T, flags uintptr, programs ...program.Program) *bench {
	t.Helper()
	return newBenchIn(t, nil, flags, programs...)
}

// newBenchIn starts a runner with a control group, which it is not in itself.
func newBenchIn(t *testing.T, group *Group, flags uintptr, programs ...program.Program) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir()}
	b.mark = "BENCH=" + b.dir
	os.Chmod(b.dir, 0o777)
	for dir := b.dir; dir != os.TempDir(); dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o777)
	}
	for i := range programs {
		programs[i].Env = append(programs[i].Env, b.mark, "DIR="+b.dir)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	b.must(err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "runner"), os.NewFile(uintptr(pair[1]), "server")
	life, lifeline, err := os.Pipe()
	b.must(err)
	policy, err := PolicyFile(programs)
	b.must(err)
	pidfd := -1
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testRunner+"=1")
	cmd.Stderr = &b.log
	cmd.ExtraFiles = []*os.File{theirs, policy, lifeline}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd, Cloneflags: flags}
	if os.Geteuid() == 0 {
		cmd.Env = append(cmd.Env, testUID+"="+strconv.Itoa(int(lastUID.Add(1))))
	} else if flags != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if group != nil {
		cmd.Env = append(cmd.Env, testGroup+"=1")
		cmd.ExtraFiles = append(cmd.ExtraFiles, group.Dir)
	}
	if err := cmd.Start(); err != nil {
		if flags != 0 && errors.Is(err, syscall.EPERM) {
			t.Skipf("no new namespaces: %v", err)
		}
		t.Fatal(err)
	}
	theirs.Close()
	policy.Close()
	lifeline.Close()
	b.pid = cmd.Process.Pid
	b.process, err = unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 3)
	b.must(err)
	cmd.Process.Release() // Conn reaps it
	b.Conn, err = Connect(Link{ours, life, os.NewFile(uintptr(pidfd), "process"), group}, programs)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.log.String())
	}
	t.Cleanup(func() {
		b.close()
		b.nothingLeft()
		unix.Close(b.process)
		if t.Failed() {
			t.Logf("%s", b.log.String())
		}
	})
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// begin is a runner that may start programs.
func begin(t *testing.T, flags uintptr, programs ...program.Program) *bench {
	t.Helper()
	b := newBench(t, flags, programs...)
	b.must(b.Begin(b.dir))
	return b
}

// start starts a program.
func (b *bench) start(role program.Role, env ...string) program.Run {
	b.Helper()
	r, err := b.Start(program.Request{Program: program.ID{Service: "site", Role: role}, Env: env})
	b.must(err)
	return r
}

// close closes the connection, as a server that ends.
func (b *bench) close() {
	b.Helper()
	ctx, cancel := context.Background(), func() {}
	if end := netns.Deadline(b.T); !end.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, end)
	}
	defer cancel()
	if err := b.Close(ctx); err != nil {
		b.Error(err)
	}
}

// until waits for a condition.
func (b *bench) until(what string, ok func() bool) {
	b.Helper()
	netns.Until(b.T, what, ok, b.log.String)
}

// end waits for the end of a run, and returns its error.
func (b *bench) end(r program.Run) error {
	b.Helper()
	b.until("the end of the run", func() bool { return isClosed(r.Done()) })
	return r.Err()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// await waits until a program has written a file in $DIR, and returns it.
func (b *bench) await(name string) (text string) {
	b.Helper()
	b.until("the file "+name, func() bool {
		content, err := os.ReadFile(filepath.Join(b.dir, name))
		text = strings.TrimSpace(string(content))
		return err == nil && text != ""
	})
	return text
}

// logged waits until the log has texts.
func (b *bench) logged(texts ...string) {
	b.Helper()
	for _, text := range texts {
		b.until(fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(b.log.String(), text) })
	}
}

// processes returns the numbers of all processes with a text in their environment.
func processes(text string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if env, err := os.ReadFile("/proc/" + e.Name() + "/environ"); err == nil && bytes.Contains(env, []byte(text)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nothingLeft fails if a process of the runner's programs, or the runner, is left, also
// as a zombie.
func (b *bench) nothingLeft() {
	b.Helper()
	if pids := processes(b.mark); len(pids) > 0 {
		b.Errorf("processes are left: %v", pids)
	}
	if err := unix.PidfdSendSignal(b.process, 0, nil, 0); err != unix.ESRCH {
		b.Errorf("the runner is left: %v", err)
	}
}
