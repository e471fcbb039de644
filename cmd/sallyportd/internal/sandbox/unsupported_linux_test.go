//go:build amd64 || arm64

package sandbox

import (
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

// unconfined runs in such a process: Confine installs no filter, and a program starts.
func unconfined(e unix.Errno) {
	raw, err := bpf.Assemble([]bpf.Instruction{
		number,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SECCOMP, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)},
		accept,
	})
	if err == nil {
		err = install(raw)
	}
	if err == nil {
		err = Confine(Server, slog.New(slog.NewTextHandler(os.Stdout, nil)))
	}
	if err == nil {
		err = exec.Command("/proc/self/exe", "-test.run=^$").Run()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestWithoutSeccomp: the process goes on, and logs a warning.
func TestWithoutSeccomp(t *testing.T) {
	for profile, reason := range map[string]string{withoutSeccomp: "function not implemented", forbiddenSeccomp: "operation not permitted"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), profileVariable+"="+profile)
		out, err := cmd.CombinedOutput()
		want := `level=WARN msg="system calls not restricted" error="no filter of system calls here: seccomp: ` + reason + `"`
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v\n%s\nwant %s", err, out, want)
		}
	}
}
