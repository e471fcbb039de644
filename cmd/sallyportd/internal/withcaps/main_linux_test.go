package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is the command itself, if the file has its name, and prints the state of a
// process that it has executed.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "with-capabilities":
		main()
		os.Exit(0)
	case "state":
		text, _ := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") {
				os.Stdout.WriteString(line)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestGrantedByFile executes the command as another user, as an engine does: with a set of
// allowed capabilities, and none granted.
func TestGrantedByFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can grant capabilities by a file; container/test does this in Docker")
	}
	dir := t.TempDir()
	for up := dir; up != "/"; up = filepath.Dir(up) {
		if i, err := os.Stat(up); err == nil && i.Mode()&5 != 5 {
			os.Chmod(up, i.Mode()|5)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	command, state := filepath.Join(dir, "with-capabilities"), filepath.Join(dir, "state")
	for _, path := range []string{command, state} {
		if err := os.WriteFile(path, self, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(command, "--grant", open).CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("not permitted")) || bytes.Contains(out, []byte("not supported")) {
			t.Skipf("no attributes of files here: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has the mode %v, %v", info.Mode(), err)
	}
	const none, admin = "0000000000000000", "0000000000001000"
	for _, row := range []struct {
		name    string
		allowed []int // beyond those that the command never grants
		nnp     bool
		root    bool
		want    map[string]string
	}{
		{"none is allowed", nil, false, false, map[string]string{"CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1"}},
		{"one is allowed", []int{unix.CAP_NET_ADMIN, unix.CAP_CHOWN}, false, false,
			map[string]string{"CapPrm": admin, "CapEff": admin, "CapAmb": admin, "NoNewPrivs": "1"}},
		{"no_new_privs", []int{unix.CAP_NET_ADMIN}, true, false, map[string]string{"CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1"}},
		{"root", []int{unix.CAP_NET_ADMIN}, false, true, map[string]string{"CapPrm": admin, "CapEff": admin, "CapAmb": none, "NoNewPrivs": "0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			cmd := exec.Command(command, state)
			if !row.root {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := outputBounded(cmd, row.allowed, row.nnp)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := map[string]string{}
			for line := range strings.Lines(string(out)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				got[key] = strings.TrimSpace(value)
			}
			for key, want := range row.want {
				if got[key] != want {
					t.Errorf("%s: %s, want %s", key, got[key], want)
				}
			}
		})
	}
	if err := exec.Command(command).Run(); err == nil {
		t.Error("it succeeds without a program")
	}
}

// outputBounded runs a command with a bounding set of these capabilities. This thread keeps
// those that the change of the user requires.
func outputBounded(cmd *exec.Cmd, allowed []int, nnp bool) (out []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		for c := range 64 {
			if !slices.Contains(allowed, c) {
				unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0) // of one that the kernel does not know it fails
			}
		}
		if nnp {
			if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return
			}
		}
		out, err = cmd.CombinedOutput()
	}()
	<-done
	return out, err
}

// TestGrant: the attribute has the form of the kernel, and is permitted only.
func TestGrant(t *testing.T) {
	b := grant()
	if len(b) != 20 || binary.LittleEndian.Uint32(b)&1 != 0 || binary.LittleEndian.Uint32(b[4:])&(1<<unix.CAP_NET_ADMIN) == 0 {
		t.Errorf("%x", b)
	}
}
