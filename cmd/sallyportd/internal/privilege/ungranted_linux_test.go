package privilege

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUngranted: the hint distinguishes a capability that is not allowed, one that is
// allowed and was not granted, and one that no_new_privs keeps away.
func TestUngranted(t *testing.T) {
	const variable = "SALLYPORT_TEST_UNGRANTED"
	if how := os.Getenv(variable); how != "" {
		if how == "nnp" {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("hint: %q", ungranted(unix.CAP_NET_ADMIN))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	for how, want := range map[string]string{"allowed": "gets it only from its file", "nnp": "no_new_privs is set", "root": `hint: ""`} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestUngranted$", "-test.v")
		cmd.Dir, cmd.Env = "/", append(os.Environ(), variable+"="+how)
		if how != "root" {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s", how, err, out)
		}
	}
}
