package secretfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProtectSeesReaders: a process that has opened a new file before it is private
// keeps its right to read it.
func TestProtectSeesReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.toml")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip("no leases here: ", err)
	}
	unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	if err := Protect(f); err != nil {
		t.Error(err)
	}
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := Protect(f); err == nil || !strings.Contains(err.Error(), "another process has opened this file") {
		t.Errorf("with a reader: %v", err)
	}
}
