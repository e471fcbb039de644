package privilege

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDescriptorsGoByName: a program finds what it was handed by the names,
// whatever the numbers, and no program that it starts finds any of it.
func TestDescriptorsGoByName(t *testing.T) {
	if os.Getenv("TEST_INHERITS") != "" {
		inherits(t)
		return
	}
	first, second := file(t, "the first"), file(t, "the second")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDescriptorsGoByName$", "-test.v")
	passFiles(cmd, map[string]*os.File{"b": first, "a": second})
	cmd.Env = append(cmd.Env, "TEST_INHERITS=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func inherits(t *testing.T) {
	in, err := inherited(0)
	d := in.descriptors
	if err != nil || in.dropped || len(d) != 2 {
		t.Fatalf("got %+v, %v", in, err)
	}
	numbers := fmt.Sprint(d)
	for name, want := range map[string]string{"a": "the second", "b": "the first"} {
		f, err := d.file(name)
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is inherited further: %d, %v", name, flags, err)
		}
		if text, err := io.ReadAll(f); err != nil || string(text) != want {
			t.Errorf("%s of %s: %q, %v", name, numbers, text, err)
		}
		if _, err := d.file(name); err == nil {
			t.Errorf("%s was there twice", name)
		}
	}
	if again, err := inherited(0); err != nil || len(again.descriptors) != 0 {
		t.Errorf("found again: %+v, %v", again, err)
	}
}

func file(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestInheritedRefuses(t *testing.T) {
	for _, text := range []string{"socket", "socket=", "socket=x", "socket=1", "socket=7 socket=8"} {
		t.Setenv(variable, text)
		if in, err := inherited(0); err == nil {
			t.Errorf("%q: %+v", text, in)
		}
	}
}

func TestProbe(t *testing.T) {
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if h.FirstOpenPort < 0 || h.FirstOpenPort > 65536 {
		t.Errorf("%+v", h)
	}
	if h.NetAdmin() != (h.Held&NetAdmin != 0) || h.NetRaw() != (h.Held&NetRaw != 0) {
		t.Errorf("%+v", h)
	}
}

// TestDroppedIsVerified: a variable that anyone can set does not make a process
// keep its privileges.
func TestDroppedIsVerified(t *testing.T) {
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(droppedVariable, "1")
	in, err := inherited(0)
	dropped := in.dropped
	if stays, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); h.Held == 0 && stays == 1 {
		if !dropped || err != nil {
			t.Errorf("without privileges: dropped %t, %v", dropped, err)
		}
	} else if dropped || err == nil || !strings.Contains(err.Error(), droppedVariable) {
		t.Errorf("with privileges: dropped %t, %v", dropped, err)
	}
}
