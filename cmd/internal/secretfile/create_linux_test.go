package secretfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
)

func TestMain(m *testing.M) {
	faultfs.Main()
	os.Exit(m.Run())
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := Create(path, []byte("hunter2\n")); err != nil {
		t.Fatal(err)
	}
	if s, err := readOne(path); err != nil || s != "hunter2" {
		t.Errorf("%q, %v", s, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	link := path + ".link"
	if err := os.Symlink(path+".target", link); err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{path, link} {
		err := Create(taken, []byte("hunter3\n"))
		if !errors.Is(err, fs.ErrExist) || strings.Contains(err.Error(), "hunter3") {
			t.Errorf("%s: %v", taken, err)
		}
	}
	if s, err := readOne(path); err != nil || s != "hunter2" {
		t.Errorf("afterwards: %q, %v", s, err)
	}
}

// TestCreateLeavesNothing makes each change to the disk fail in turn.
func TestCreateLeavesNothing(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	last := 1
	for k := 0; k <= last; k++ {
		path := filepath.Join(disk.Arm(k, syscall.EIO), "secret")
		err := Create(path, []byte("hunter2\n"))
		if k == 0 {
			last = disk.Count()
		}
		if (err == nil) != (k == 0) {
			t.Errorf("fault %d of %d: %v", k, last, err)
		}
		if _, err := os.Lstat(path); (err == nil) != (k == 0) {
			t.Errorf("after fault %d of %d: %v", k, last, err)
		}
	}
}
