package durable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestMountPoint: a file that is a mount itself stays as it is, with an error that
// names the mount, and nothing is left beside it.
func TestMountPoint(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "file")
	err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), unix.Mount(path, path, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(path, 0)
	for what, err := range map[string]error{
		"WriteFile": WriteFile(path, []byte("new"), 0o600), "Replaceable": Replaceable(path),
	} {
		var mounted *MountedError
		if !errors.As(err, &mounted) || mounted.Hint() == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("the new file is left")
	}
}

// TestListStays: a new file has the access control list of the old one.
func TestListStays(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 4, 1234}, {4, 0, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		list = binary.LittleEndian.AppendUint16(list, uint16(e[0]))
		list = binary.LittleEndian.AppendUint16(list, uint16(e[1]))
		list = binary.LittleEndian.AppendUint32(list, e[2])
	}
	if err := unix.Setxattr(path, aclName, list, 0); errors.Is(err, unix.ENOTSUP) {
		t.Skip("the file system has no access control lists")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o640); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 256)
	n, err := unix.Getxattr(path, aclName, got)
	if err != nil || !bytes.Equal(got[:n], list) {
		t.Errorf("%x, %v", got[:max(n, 0)], err)
	}
}
