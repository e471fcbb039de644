// Package clitest runs the scripts of the commands' tests. It adds commands to
// those of testscript:
//
//	await PATTERN FILE   wait until a line of a file matches
//	signal TERM|HUP      send a signal to the programs that run in the background
package clitest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run runs the scripts whose paths match a pattern, in parallel. The local zone is
// UTC. Setup, if it is not nil, may change the environment of each script.
func Run(t *testing.T, pattern string, setup func(*testscript.Env) error) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts %s: %v", pattern, err)
	}
	deadline, limited := t.Deadline()
	if !limited {
		deadline = time.Now().Add(time.Hour)
	}
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			// The race detector would make each command wait for a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			// In a directory that is closed to others, no file is exposed.
			err := os.Chmod(filepath.Dir(env.WorkDir), 0o755)
			if setup == nil || err != nil {
				return err
			}
			return setup(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":  awaitUntil(deadline),
			"signal": signal,
		},
	})
}

// reportTime is how long before the deadline of the test a script fails, so that
// there is time to report why.
const reportTime = 10 * time.Second

// awaitUntil is the command await. It fails only shortly before the deadline of the
// test, so that scripts also pass on a busy machine.
func awaitUntil(deadline time.Time) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: await PATTERN FILE")
		}
		pattern, err := regexp.Compile("(?m)" + args[0])
		ts.Check(err)
		var text []byte
		for end := deadline.Add(-reportTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			var err error
			if text, err = os.ReadFile(ts.MkAbs(args[1])); err == nil && pattern.Match(text) {
				return
			}
		}
		ts.Fatalf("never in %s: %s\n%s", args[1], args[0], text)
	}
}

// signal is the command signal.
func signal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if neg || len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|HUP")
	}
	for _, c := range ts.BackgroundCmds() {
		if err := c.Process.Signal(signals[args[0]]); !errors.Is(err, os.ErrProcessDone) {
			ts.Check(err)
		}
	}
}

// maxInit is how many bytes the packages of a program may allocate before main. All of
// it is time that each command takes, --version included: 1 MB is about 3 ms.
const maxInit = 3 << 20

// InitCost fails if the packages of a program allocate much before main. The program is
// a command of testscript.Main.
func InitCost(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "--version")
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	total, packages := 0, 0
	for _, m := range initLine.FindAllStringSubmatch(string(out), -1) {
		var n int
		fmt.Sscan(m[1], &n)
		total, packages = total+n, packages+1
	}
	if packages == 0 || total > maxInit {
		t.Errorf("%d packages allocate %d bytes before main; expected at most %d\n%s", packages, total, maxInit, out)
	}
}

var initLine = regexp.MustCompile(`(?m)^init \S+ @.* ms clock, (\d+) bytes, \d+ allocs$`)
