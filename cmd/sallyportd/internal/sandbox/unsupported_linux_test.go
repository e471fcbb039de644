//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The profiles of processes in which seccomp(2) fails: as on a kernel that does not have
// it, and as in a unit or a container that forbids it.
const (
	withoutSeccomp   = "without seccomp"
	forbiddenSeccomp = "seccomp forbidden"
)

// The same for Landlock: a kernel whose list of security modules lacks it, and a unit or
// a container that forbids it.
const (
	withoutLandlock   = "without Landlock"
	forbiddenLandlock = "Landlock forbidden"
)

// fail makes one system call fail in this process.
func fail(call uint32, e unix.Errno) error {
	raw, err := bpf.Assemble([]bpf.Instruction{
		number,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: call, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)},
		accept,
	})
	if err != nil {
		return err
	}
	return install(raw)
}

// withFiles runs where Landlock fails: the process keeps its files, and its filter holds.
func withFiles(e unix.Errno) {
	err := fail(unix.SYS_LANDLOCK_CREATE_RULESET, e)
	if err == nil {
		_, err = Confine(Capturer, slog.New(slog.NewTextHandler(os.Stdout, nil)))
	}
	if err == nil {
		_, err = os.ReadFile("/proc/self/status")
	}
	_, started := os.StartProcess("/bin/true", nil, new(os.ProcAttr))
	if err == nil && !errors.Is(started, unix.ENOSYS) {
		err = fmt.Errorf("a program: %w, want ENOSYS", started)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// unconfined runs in such a process: Confine installs no filter, so a call that it would
// forbid fails for another reason.
func unconfined(e unix.Errno) {
	err := fail(unix.SYS_SECCOMP, e)
	if err == nil {
		_, err = Confine(Server(Files{}, false), slog.New(slog.NewTextHandler(os.Stdout, nil)))
	}
	if got := unix.Setns(-1, 0); err == nil && got != unix.EBADF {
		err = fmt.Errorf("setns: %w, want EBADF: the filter ends the process", got)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestWithoutSeccomp: the process goes on, and logs a warning.
func TestWithoutSeccomp(t *testing.T) {
	warns(t, withoutSeccomp, `msg="system calls not restricted" error="no filter of system calls here: seccomp: function not implemented"`)
	warns(t, forbiddenSeccomp, `msg="system calls not restricted" error="no filter of system calls here: seccomp: operation not permitted"`)
}

// TestWithoutLandlock: the process goes on, with its filter, and logs a warning.
func TestWithoutLandlock(t *testing.T) {
	warns(t, withoutLandlock, `msg="files not restricted" error="no Landlock here: landlock_create_ruleset: operation not supported"`)
	warns(t, forbiddenLandlock, `msg="files not restricted" error="no Landlock here: landlock_create_ruleset: operation not permitted"`)
}

// warns runs a process that must go on, and log a warning.
func warns(t *testing.T, profile, want string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), profileVariable+"="+profile)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "level=WARN "+want) {
		t.Errorf("%s: %v\n%s\nwant %s", profile, err, out, want)
	}
}
