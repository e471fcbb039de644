package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBarrier: a barrier ends when the manager closes its descriptor, or with its context.
func TestBarrier(t *testing.T) {
	manager, n := listen(t, nil)
	done := make(chan error, 1)
	go func() { done <- n.Barrier(t.Context()) }()
	b, oob := make([]byte, 100), make([]byte, 100)
	size, m, _, _, err := manager.ReadMsgUnix(b, oob)
	if err != nil || string(b[:size]) != "BARRIER=1" {
		t.Fatalf("got %q, %v", b[:size], err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("got %v, %v", fds, err)
	}
	select {
	case err := <-done:
		t.Errorf("the barrier ended before: %v", err)
	default:
	}
	unix.Close(fds[0])
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Barrier(ctx); err == nil {
		t.Error("a barrier that nobody has passed")
	}
	if (Notifier{}).Barrier(t.Context()) == nil {
		t.Error("a barrier without a manager")
	}
	if (Notifier{socket: filepath.Join(t.TempDir(), "none")}).Barrier(t.Context()) == nil {
		t.Error("a barrier without a socket")
	}
}

// TestStoreMessages: the manager gets the descriptors with their name, and later that name.
func TestStoreMessages(t *testing.T) {
	manager, n := listen(t, nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := n.Store("x", r, w); err != nil {
		t.Fatal(err)
	}
	b, oob := make([]byte, 100), make([]byte, 100)
	size, m, _, _, err := manager.ReadMsgUnix(b, oob)
	if err != nil || string(b[:size]) != "FDSTORE=1\nFDNAME=x\nFDPOLL=0" {
		t.Errorf("got %q, %v", b[:size], err)
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:m])
	if len(messages) != 1 {
		t.Fatalf("%d messages", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		t.Errorf("got %v, %v", fds, err)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	if err := n.Remove("x"); err != nil {
		t.Fatal(err)
	}
	if got := heard(t, manager); got != "FDSTOREREMOVE=1\nFDNAME=x" {
		t.Errorf("got %q", got)
	}
	if (Notifier{}).Store("x", r) == nil {
		t.Error("stored without a manager")
	}
}

// TestPassed: a process finds the descriptors that are for it, by their names, and no
// program that it starts does.
func TestPassed(t *testing.T) {
	if os.Getenv("TEST_PASSED") != "" {
		passed(t)
		return
	}
	first, second := pipeEnd(t), pipeEnd(t)
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", os.Args[0], "-test.run=^TestPassed$", "-test.v")
	cmd.ExtraFiles = []*os.File{first, second}
	cmd.Env = append(os.Environ(), "TEST_PASSED=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=one:two") // one too many
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	// The variables of another process are none of this one.
	env := map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid() + 1), "LISTEN_FDS": "1"}
	if all := Passed(func(name string) string { return env[name] }, func(string) error { return nil }); len(all) > 0 {
		t.Errorf("got %v", all)
	}
}

func passed(t *testing.T) {
	all := Passed(os.Getenv, os.Unsetenv)
	if len(all) < 2 || all[0] != (Descriptor{"one", 3}) || all[1] != (Descriptor{"two", 4}) {
		t.Fatalf("got %v", all)
	}
	for _, d := range all {
		if flags, err := unix.FcntlInt(uintptr(d.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%v is inherited further: %d, %v", d, flags, err)
		}
	}
	if again := Passed(os.Getenv, os.Unsetenv); len(again) > 0 {
		t.Errorf("found again: %v", again)
	}
}

func pipeEnd(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}
