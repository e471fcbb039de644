package privilege

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/runner"
)

func TestMain(m *testing.M) {
	runner.Helper()
	if os.Getenv("PROBE") != "" {
		if err := probe(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	race.Children()
	os.Exit(m.Run())
}

// users are the server's user and those of two programs, which no list of users has. A
// test that runs at the same time has others: the processes try to trace each other.
var users = map[string][3]int{"plain": {4242, 4343, 4444}, "namespace": {5252, 5353, 5454}, "cgroup": {6262, 6363, 6464}, "unit": {7262, 7363, 7464}}

// process is what a probe has found out about a process.
type process struct {
	Status map[string]string
	// The errors of attempts to change it; empty: it was possible.
	Signal, Trace, Memory, Environment string
}

// about tries what a process that is controlled by an attacker would try.
func about(pid int) (p process) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	p.Status = map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		p.Status[key] = strings.Join(strings.Fields(value), " ")
	}
	message := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	p.Signal = message(unix.Kill(pid, 0))
	runtime.LockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		p.Trace = err.Error()
	} else {
		unix.PtraceDetach(pid)
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	p.Memory = message(err)
	f.Close()
	_, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	p.Environment = message(err)
	return p
}

// found is what a program has found out.
type found struct {
	Self, Supervisor, Runner process
	Others                   []process
	Files                    map[string]string
	Env                      []string
	Session, Umask           int
	Core                     uint64
	Ignored                  string
}

// probe is a program that finds out what it can do. It waits until it is stopped.
func probe() error {
	parent := os.Getppid()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", parent))
	if err != nil {
		return err
	}
	grandparent, err := strconv.Atoi(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1])
	if err != nil {
		return err
	}
	f := found{Self: about(os.Getpid()), Supervisor: about(parent), Runner: about(grandparent), Env: os.Environ(), Files: map[string]string{}}
	for _, field := range strings.Split(os.Getenv("SALLYPORT_CLIENT"), ",") {
		if pid, err := strconv.Atoi(field); err == nil {
			f.Others = append(f.Others, about(pid))
		}
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			f.Files[e.Name()], _, _ = strings.Cut(to, ":[")
		}
	}
	f.Session, _ = unix.Getsid(0)
	f.Session -= os.Getpid()
	f.Umask = unix.Umask(0)
	var limit unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	f.Core = limit.Max
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	name := filepath.Join(os.Getenv("DIR"), os.Getenv("SALLYPORT_SERVICE"))
	if err := os.WriteFile(name+".new", text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	time.Sleep(time.Hour) // until it is killed
	return nil
}

// TestProgramHelper is the process that starts programs, for the test below.
func TestProgramHelper(t *testing.T) {
	if os.Getenv(variable) == "" {
		return
	}
	err := RunPrograms(clock.System(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestRunners: Split starts a process for each user of programs. No process keeps a
// privilege, and none can trace or change another one, except that a program can end
// processes of the same user.
func TestRunners(t *testing.T) {
	dir, way := os.Getenv("DIR"), os.Getenv("WAY")
	programs := []program.Program{
		{ID: program.ID{Service: "first", Role: program.Server}, User: strconv.Itoa(users[way][1])},
		{ID: program.ID{Service: "second", Role: program.Server}, User: strconv.Itoa(users[way][2])},
	}
	for i := range programs {
		programs[i].Args, programs[i].Dir, programs[i].StopAfter = []string{"/proc/self/exe"}, "/", time.Hour
		programs[i].Env = []string{"PROBE=1", "DIR=" + dir, "LANG=C"}
	}
	switch os.Getenv(stage) {
	case "":
	case "split":
		h, err := Probe()
		if err != nil {
			t.Fatal(err)
		}
		if way == "plain" {
			h.Held &^= SysAdmin
		}
		os.Setenv(stage, "server")
		t.Fatal(Split(t.Context(), Plan{User: strconv.Itoa(users[way][0]), Programs: programs, Runner: []string{"-test.run=^TestProgramHelper$"}}, h))
	case "server":
		serveRunners(t, dir, programs)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can switch to another user")
	}
	for way := range users {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
				if err := os.Chmod(d, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestRunners$", "-test.v")
			if end := netns.Deadline(t); !end.IsZero() {
				cmd.Args = append(cmd.Args, "-test.timeout="+time.Until(end).String())
			}
			cmd.Env = append(os.Environ(), stage+"=split", "DIR="+dir, "WAY="+way)
			switch way {
			case "cgroup":
				delegate(t, cmd, 0)
			case "unit":
				delegate(t, cmd, users[way][0])
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Errorf("%v\n%s", err, out)
			}
			want := fmt.Sprintf("cgroup=%t", way == "cgroup" || way == "unit")
			if strings.Count(string(out), want) != 2 {
				t.Errorf("expected %s of two runners\n%s", want, out)
			}
		})
	}
}

// serveRunners is the server: it has dropped its privileges.
func serveRunners(t *testing.T, dir string, programs []program.Program) {
	resumed, err := Resume(clock.System())
	if err != nil || !resumed.Dropped {
		t.Fatalf("%+v, %v", resumed, err)
	}
	runners, err := resumed.Runners(programs)
	if err != nil {
		t.Fatal(err)
	}
	if err := runners.Begin(dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := runners.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	others := strconv.Itoa(os.Getpid())
	check := func(p process, who string, allowed ...string) {
		t.Helper()
		for what, err := range map[string]string{"signal": p.Signal, "trace": p.Trace, "memory": p.Memory, "environment": p.Environment} {
			if (err == "") != slices.Contains(allowed, what) {
				t.Errorf("%s: %s: %q", who, what, err)
			}
		}
	}
	for _, p := range programs {
		id := p.ID
		uid, err := strconv.Atoi(p.User)
		if err != nil {
			t.Fatal(err)
		}
		run, err := runners.Start(program.Request{Program: id, Env: []string{"SALLYPORT_SERVICE=" + id.Service, "SALLYPORT_CLIENT=" + others}})
		if err != nil {
			t.Fatal(err)
		}
		var f found
		netns.Until(t, "what the program has found out", func() bool {
			text, err := os.ReadFile(filepath.Join(dir, id.Service))
			return err == nil && json.Unmarshal(text, &f) == nil
		})
		user := fmt.Sprintf("%d %[1]d %[1]d %[1]d", uid)
		for who, p := range map[string]process{"program": f.Self, "supervisor": f.Supervisor, "runner": f.Runner} {
			none := "0000000000000000"
			for key, want := range map[string]string{
				"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1", "Uid": user, "Gid": user, "Groups": strconv.Itoa(uid),
			} {
				if p.Status[key] != want {
					t.Errorf("%s: %s: expected %s, got %q", who, key, want, p.Status[key])
				}
			}
		}
		for key, want := range map[string]string{"SigIgn": "0000000000000000", "SigBlk": "0000000000000000"} {
			if got := f.Self.Status[key]; got != want {
				t.Errorf("program: %s: %s", key, got)
			}
		}
		check(f.Supervisor, "supervisor, by the program", "signal")
		check(f.Runner, "runner, by the program", "signal")
		for _, p := range f.Others { // the server, and the runner of the other user
			check(p, "processes of other users, by the program")
		}
		if f.Session != 0 || f.Umask != 0o022 || f.Core != 0 {
			t.Errorf("session %d, umask %#o, core files up to %d bytes", f.Session, f.Umask, f.Core)
		}
		want := map[string]string{"0": "/dev/null", "1": "pipe", "2": "pipe"}
		for name, to := range f.Files {
			// The runtime of Go has descriptors for its poller, and for limits of the cgroup.
			own := strings.HasPrefix(to, "anon_inode") || strings.HasPrefix(to, "/proc/") || strings.HasPrefix(to, "/sys/fs/cgroup/")
			if want[name] != to && !own {
				t.Errorf("the program has descriptor %s: %s", name, to)
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Errorf("the program lacks descriptors: %v", want)
		}
		slices.Sort(f.Env)
		names := ""
		for _, pair := range f.Env {
			name, _, _ := strings.Cut(pair, "=")
			names += name + " "
		}
		if names != "DIR HOME LANG LOGNAME PATH PROBE SALLYPORT_CLIENT SALLYPORT_INSTANCE SALLYPORT_SERVICE USER " {
			t.Errorf("the program has the variables %s", names)
		}
		// The server, in an attacker's hands.
		pids, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, path := range pids {
			status, _ := os.ReadFile(path + "/status")
			if !strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t", uid)) {
				continue
			}
			pid, _ := strconv.Atoi(filepath.Base(path))
			seen++
			check(about(pid), "process of a program's user, by the server")
			others += "," + filepath.Base(path)
		}
		if seen < 3 {
			t.Errorf("only %d processes of user %d", seen, uid)
		}
		run.Stop()
		<-run.Done()
		if err := run.Err(); err == nil || err.Error() != "ended by SIGTERM" {
			t.Errorf("%v", err)
		}
	}
}

// TestProgramsAreRefused: no program runs as root or the server's user, and a process
// without the privileges to start a runner returns an error before it changes anything.
func TestProgramsAreRefused(t *testing.T) {
	p := func(user string) []program.Program {
		return []program.Program{{ID: program.ID{Service: "site", Role: program.Server}, User: user, Args: []string{"/bin/true"}, Dir: "/"}}
	}
	self := strconv.Itoa(os.Geteuid())
	all := Host{Held: SetIDs | SysAdmin}
	for _, row := range []struct {
		programs []program.Program
		server   string
		host     Host
		want     string
	}{
		{nil, "", Host{}, ""},
		{p("4343"), "4242", all, ""},
		{p("root"), "4242", all, "must not run as root"},
		{p("0"), "4242", all, "must not run as root"},
		{p("4242"), "4242", all, "must not run as the server's user"},
		{p("nobody"), "65534", all, "must not run as the server's user"},
		{p(self), "", all, "must not run as "},
		{p("no-such-user"), "4242", all, `service site: program_user = "no-such-user": this host has no such user`},
		{p("4343"), "4242", Host{}, "requires CAP_SETUID and CAP_SETGID"},
		{p("4343"), "4242", Host{Held: 1 << unix.CAP_SETUID}, "requires CAP_SETUID and CAP_SETGID"},
	} {
		err := checkPrograms(row.programs, row.server, row.host)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("expected %q, got %v", row.want, err)
		}
		var hinted interface{ Hint() string }
		if err != nil && (!errors.As(err, &hinted) || hinted.Hint() == "") {
			t.Errorf("no hint: %v", err)
		}
	}
}
