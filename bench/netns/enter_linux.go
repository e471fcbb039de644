package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside is the environment variable that names a test in its own namespace.
const inside = "SALLYPORT_TEST_NETNS"

// Enter returns true if the calling test runs in its own network namespace, with
// its loopback up. If not, Enter runs the test again in a new one, reports its
// result as that of the test, and returns false: then the caller must return.
// Where the host forbids namespaces, the test is skipped, with the reason. A
// top-level test must call Enter first; only t.Parallel may come before. Tests in
// separate namespaces can run in parallel, unless they measure. The second run
// obeys -short, and ends shortly before the deadline of the first.
func Enter(t *testing.T) bool {
	t.Helper()
	return enter(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	})
}

// EnterPrivileged is Enter for tests that require the privileges of the host's
// root, which they keep in the namespace. Without them the test is skipped.
func EnterPrivileged(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != t.Name() && !Privileged() {
		t.Skip("needs the host's root")
	}
	return enter(t, &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	})
}

// Privileged reports whether this process has the privileges of the host's root
// over network and kernel.
func Privileged() bool {
	const all = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN | 1<<(unix.CAP_BPF%32)<<32
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || len(strings.Fields(string(users))) != 3 || strings.Fields(string(users))[2] != "4294967295" {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	effective := uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	return effective&all == all
}

func enter(t *testing.T, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		if err := LoopbackUp(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if strings.Contains(t.Name(), "/") {
		t.Fatal("netns.Enter is for top-level tests")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", again(t)...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attributes
	// The thread that starts the process must live as long (see Pdeathsig): one that another
	// test has locked can end before.
	runtime.LockOSThread()
	out, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
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
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOSPC),
		errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EACCES):
		t.Skipf("this host forbids user and network namespaces: %v", err)
	default:
		t.Fatalf("run the test in its own namespace: %v", err)
	}
	return false
}

// again returns the arguments that run the test again.
func again(t *testing.T) []string {
	arguments := []string{
		"-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1", fmt.Sprintf("-test.short=%t", testing.Short()),
	}
	timeout := time.Duration(0) // none
	if deadline, ok := t.Deadline(); ok {
		// Leave time for the report of a test that timed out.
		timeout = max(time.Until(deadline)-5*time.Second, time.Second)
	}
	return append(arguments, "-test.timeout="+timeout.String())
}

// LoopbackUp brings up the loopback of the thread's namespace.
func LoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring the loopback up: %w", err)
	}
	return nil
}
