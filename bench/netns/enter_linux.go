package netns

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// inside marks the environment of a test that runs in its own namespace.
const inside = "SALLYPORT_TEST_NETNS"

// Enter reports true if the calling test runs in a network namespace of its
// own, with its loopback up. If not, it runs the test again in one, reports
// what came of it as the test's own result, and returns false: the caller
// returns. The test is skipped, with the reason, where the host forbids
// namespaces. It must be called first, by a top-level test.
func Enter(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		loopbackUp(t)
		return true
	}
	if strings.Contains(t.Name(), "/") {
		t.Fatal("netns.Enter is for top-level tests")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "\n--- SKIP: "+t.Name()+" "):
		t.Skipf("in its own namespace:\n%s", out)
	case err == nil && !strings.Contains(string(out), "--- PASS: "+t.Name()+" "):
		t.Fatalf("the test did not run in its own namespace:\n%s", out)
	case err == nil:
		t.Logf("in its own namespace:\n%s", out)
	case errors.As(err, &exit):
		t.Fatalf("in its own namespace: %v\n%s", err, out)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EACCES):
		t.Skipf("this host forbids user and network namespaces: %v", err)
	default:
		t.Fatalf("run the test in its own namespace: %v", err)
	}
	return false
}

func loopbackUp(t testing.TB) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatalf("find the loopback: %v", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatalf("bring the loopback up: %v", err)
	}
}
