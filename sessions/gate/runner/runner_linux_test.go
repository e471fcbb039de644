package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/program"
)

// TestRun: a run ends with the result of the program, and its output is in the log,
// with control characters escaped.
func TestRun(t *testing.T) {
	eachWay(t, func(t *testing.T, flags uintptr) {
		b := begin(t, flags, script(program.OnOpen, `echo hello; printf 'a\033[2Jb\377\n' >&2; printf 'no end'`), script(program.OnClose, `exit 3`))
		b.must(b.end(b.start(program.OnOpen)))
		if err := b.end(b.start(program.OnClose)); err == nil || err.Error() != "exit code 3" {
			t.Errorf("%v", err)
		}
		b.logged("program=on_open pid=", "stream=stdout text=hello", `stream=stderr text="a\x1b[2Jb\xff"`, `text="no end"`)
	})
}

// TestProgramsThatDoNotStart: the error of a run names the fault, whether the
// supervisor executes the program itself or not.
func TestProgramsThatDoNotStart(t *testing.T) {
	for _, limits := range []program.Limits{{}, {Memory: 1 << 40}} {
		no, noDir, noHash := script(program.Server, ""), script(program.OnOpen, ""), script(program.OnClose, "")
		no.Args, noDir.Dir, noHash.Args = []string{"/no/such/program"}, "/no/such/directory", []string{"/etc/passwd"}
		no.Limits, noDir.Limits, noHash.Limits = limits, limits, limits
		b := begin(t, 0, no, noDir, noHash)
		for role, want := range map[program.Role]string{
			program.Server:  "execute /no/such/program: no such file or directory",
			program.OnOpen:  "working directory: chdir /no/such/directory: no such file or directory",
			program.OnClose: "execute /etc/passwd: permission denied",
		} {
			if err := b.end(b.start(role)); err == nil || err.Error() != want {
				t.Errorf("expected %q, got %v", want, err)
			}
		}
	}
}

// TestStop: Stop sends SIGTERM, and SIGKILL to a program that ignores that.
func TestStop(t *testing.T) {
	eachWay(t, func(t *testing.T, flags uintptr) {
		obeys := script(program.Server, `trap 'echo bye > $DIR/bye; exit 0' TERM; echo up > $DIR/obeys; while :; do sleep 0.02; done`)
		obeys.StopAfter = time.Hour
		ignores := script(program.OnOpen, `trap '' TERM; echo up > $DIR/ignores; while :; do sleep 100; done`)
		ignores.StopAfter = 50 * time.Millisecond
		b := begin(t, flags, obeys, ignores)
		first, second := b.start(program.Server), b.start(program.OnOpen)
		b.await("obeys")
		b.await("ignores")
		first.Stop()
		second.Stop()
		second.Stop()
		if err := b.end(first); err != nil || b.await("bye") != "bye" {
			t.Errorf("%v", err)
		}
		if err := b.end(second); err == nil || err.Error() != "ended by SIGKILL" {
			t.Errorf("%v", err)
		}
		second.Stop() // again, when it has ended
	})
}

// TestTimeLimit: a command that hangs is stopped, and has failed, even if it ends with
// exit code 0.
func TestTimeLimit(t *testing.T) {
	hangs := script(program.OnOpen, `trap 'exit 0' TERM; while :; do sleep 0.01; done`)
	hangs.TimeLimit = 50 * time.Millisecond
	b := begin(t, 0, hangs)
	if err := b.end(b.start(program.OnOpen)); err == nil || !strings.Contains(err.Error(), "time limit of 50ms") {
		t.Errorf("%v", err)
	}
}

// away is a script that forks away twice, into sessions of its descendants, ignores
// SIGTERM there, and ends. It does not end before the others run.
const away = `
	setsid sh -c 'trap "" TERM; setsid sh -c "trap \"\" TERM; echo up > $DIR/away1; exec sleep 1000" & sleep 1000' &
	(setsid setsid sh -c 'trap "" TERM; echo up > $DIR/away2; sleep 1000; :' &)
	until [ -s $DIR/away1 ] && [ -s $DIR/away2 ]; do sleep 0.01; done
`

// TestForkedAway: processes that a program leaves behind end with its run.
func TestForkedAway(t *testing.T) {
	eachWay(t, func(t *testing.T, flags uintptr) {
		p := script(program.Server, away)
		p.StopAfter = 30 * time.Millisecond
		b := begin(t, flags, p)
		b.must(b.end(b.start(program.Server)))
		if pids := processes(b.mark); len(pids) > 0 {
			t.Errorf("processes are left: %v", pids)
		}
		b.logged("program left processes behind")
	})
}

// TestForkStorm: processes that move to another process and session all the time end
// with their run.
func TestForkStorm(t *testing.T) {
	eachWay(t, func(t *testing.T, flags uintptr) {
		p := script(program.Server, `
			mkfifo $DIR/fifo
			move='echo up >> $DIR/moves; setsid sh -c "$0" "$0" & exit'
			for i in 1 2 3 4 5 6 7 8 9 10; do sh -c "$move" "$move" & done
			read never < $DIR/fifo`)
		b := begin(t, flags, p)
		r := b.start(program.Server)
		b.until("processes that move", func() bool { return len(b.await("moves")) >= 200 })
		r.Stop()
		b.end(r)
		if pids := processes(b.mark); len(pids) > 0 {
			t.Errorf("processes are left: %v", pids)
		}
	})
}

// TestLimits: a program has the limits of the configuration, and no core files.
func TestLimits(t *testing.T) {
	p := script(program.OnOpen, `echo limits $(ulimit -n) $(ulimit -v) $(ulimit -c) $(umask) $(pwd) $(grep processes /proc/$$/limits)`)
	p.Limits, p.Dir = program.Limits{Memory: 1 << 30, Files: 77, Processes: 88}, "/usr"
	other := script(program.OnClose, `echo limits $(ulimit -n) $(ulimit -v) $(ulimit -c) $(umask) $(pwd)`)
	other.Limits.Files = 99 // without the step
	b := begin(t, 0, p, other)
	if os.Geteuid() == 0 {
		b.must(b.end(b.start(program.OnOpen)))
		b.logged("limits 77 1048576 0 0022 /usr Max processes 88 88 processes")
	}
	b.must(b.end(b.start(program.OnClose)))
	b.logged("limits 99 unlimited 0 0022 /")
}

// TestLimitsAboveThoseOfTheServer: a process cannot raise a limit. A program then has the
// limit of the server, which is stricter, and runs.
func TestLimitsAboveThoseOfTheServer(t *testing.T) {
	p := script(program.OnOpen, `echo limits $(ulimit -Hn) $(ulimit -v)`)
	p.Limits = program.Limits{Memory: 2 << 30, Files: 99}
	other := script(program.OnClose, `echo limits $(ulimit -n)`)
	other.Limits.Files = 2_000_000_000 // without the step
	t.Setenv(testFiles, "80")
	b := begin(t, 0, p, other)
	b.must(b.end(b.start(program.OnOpen)))
	b.logged("limits 80 2097152")
	b.must(b.end(b.start(program.OnClose)))
	b.logged("limits 80\"")
}

// TestListener: a program inherits a listener as descriptor 3, by the protocol of
// systemd.
func TestListener(t *testing.T) {
	p := script(program.Server, `echo listener $LISTEN_FDS $LISTEN_FDNAMES $(($$ - LISTEN_PID)) $(readlink /proc/$$/fd/3 | cut -d : -f 1)`)
	p.Inherits = true
	b := begin(t, unix.CLONE_NEWPID|unix.CLONE_NEWNS, p)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	b.must(err)
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	b.must(unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(b.dir, "socket")}))
	b.must(unix.Listen(fd, 1))
	id := program.ID{Service: "site", Role: program.Server}
	r, err := b.Start(program.Request{Program: id, Listener: f})
	b.must(err)
	b.must(b.end(r))
	b.logged("listener 1 listener 0 socket")
	if _, err := b.Start(program.Request{Program: id}); err == nil {
		t.Error("started without a listener")
	}
}

// TestFlood: a program that floods its output fills neither the log nor the memory.
// The runner reads at a bounded rate, which bounds its processor time.
func TestFlood(t *testing.T) {
	p := script(program.Server, `head -c 300000 /dev/zero | tr '\0' x; echo; yes >&2`)
	b := begin(t, 0, p)
	began := time.Now()
	r := b.start(program.Server)
	b.logged(fmt.Sprintf("truncated=%d", 300_000-maxLine), "stream=stderr left_out=")
	r.Stop()
	b.end(r)
	took := time.Since(began)
	lines := outputLimit.Burst + int(took/outputLimit.Pause) + 2
	n := strings.Count(b.log.String(), "stream=stderr text=y") + strings.Count(b.log.String(), "stream=stderr left_out=")
	if n > lines {
		t.Errorf("%d lines in the log within %s", n, took)
	}
	// A line has two bytes. The last bytes are read without a pause.
	const pipe = 64 << 10
	if most := uint64(took.Seconds()*readRate+pipe+readSize) / 2; b.Dropped() == 0 || b.Dropped() > most {
		t.Errorf("%d lines dropped, expected at most %d within %s", b.Dropped(), most, took)
	}
}
