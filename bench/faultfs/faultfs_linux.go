package faultfs

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// FS is a mounted file system.
type FS struct {
	Path string

	images string
	t      testing.TB
	in     *json.Encoder
	out    *json.Decoder
}

// Main serves a file system in a process that Start has started, and does not
// return there. In other processes it does nothing. TestMain must call it first.
func Main() {
	path := os.Getenv(serving)
	if path == "" {
		return
	}
	d := &disk{root: newDirectory()}
	server, err := fusefs.Mount(path, &directoryNode{disk: d, directory: d.root}, &fusefs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, DisableXAttrs: true, Name: "faultfs"},
		Logger:       log.Default(),
	})
	answers := json.NewEncoder(os.Stdout)
	if err != nil {
		answers.Encode(answer{Error: err.Error()})
		os.Exit(0)
	}
	answers.Encode(answer{})
	requests := json.NewDecoder(os.Stdin)
	for {
		var r request
		if requests.Decode(&r) != nil {
			if err := server.Unmount(); err != nil {
				// Still in use: it is unmounted when the namespace ends.
				syscall.Unmount(path, syscall.MNT_DETACH)
			}
			os.Exit(0)
		}
		answers.Encode(d.answer(r))
	}
}

func (d *disk) answer(r request) (a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Arm != "" {
		armed, ok := d.root.now[r.Arm].(*directory)
		if !ok {
			a.Error = "no such directory"
		}
		d.armed = armed
		d.count, d.fail, d.errno, d.images = 0, r.Fail, r.Errno, nil
	}
	a.Count = d.count
	for n, i := range d.images {
		if r.Images == "" {
			break
		}
		path := filepath.Join(r.Images, fmt.Sprintf("%d-%s-%d", i.after, i.kind, n))
		if err := writeImage(path, i.root); err != nil {
			a.Error = err.Error()
		}
	}
	return a
}

// Start mounts a file system until the end of the test. The test must be in its
// own namespace (see netns.Enter). Where file systems cannot be mounted, the test
// is skipped, with the reason.
func Start(t testing.TB) *FS {
	t.Helper()
	f := &FS{Path: t.TempDir(), images: t.TempDir(), t: t}
	// A real disk would be slow at creating and removing thousands of files.
	if err := syscall.Mount("images", f.images, "tmpfs", 0, ""); err != nil {
		t.Skipf("file systems cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(f.images, 0) })
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serving+"="+f.Path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out)
		cmd.Wait()
	})
	f.in, f.out = json.NewEncoder(in), json.NewDecoder(out)
	var a answer
	if err := f.out.Decode(&a); err != nil {
		t.Fatalf("no answer from the file system: %v", err)
	}
	if a.Error != "" {
		t.Skipf("file systems cannot be mounted here: %s", a.Error)
	}
	return f
}

func (f *FS) ask(r request) int {
	f.t.Helper()
	if err := f.in.Encode(r); err != nil {
		f.t.Fatalf("send a request to the file system: %v", err)
	}
	var a answer
	if err := f.out.Decode(&a); err != nil || a.Error != "" {
		f.t.Fatalf("read the answer of the file system: %v %s", err, a.Error)
	}
	return a.Count
}

// Arm creates a directory, and counts changes from here on. The change with the
// number fail fails with errno; 0: none. Images begin here, and have the content
// of the directory.
func (f *FS) Arm(fail int, errno syscall.Errno) (dir string) {
	f.t.Helper()
	dir, err := os.MkdirTemp(f.Path, "")
	if err != nil {
		f.t.Fatal(err)
	}
	f.ask(request{Arm: filepath.Base(dir), Fail: fail, Errno: errno})
	return dir
}

// Count returns the number of changes since Arm.
func (f *FS) Count() int { return f.ask(request{}) }

// Image is a directory with the data that a power failure would have left.
type Image struct {
	Path string
	// Kind is "synced": only synced data; "random": also a random part of the
	// rest; or "killed": all data, as if only the process had ended.
	Kind  string
	After int // the last change since Arm after which the disk has this content
}

// Images calls use with each image since Arm, up to three for each change. It
// removes an image after use has returned for all.
func (f *FS) Images(use func(Image)) {
	f.t.Helper()
	dir, err := os.MkdirTemp(f.images, "")
	if err != nil {
		f.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	f.ask(request{Images: dir})
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		i := Image{Path: filepath.Join(dir, e.Name())}
		parts := strings.Split(e.Name(), "-")
		if i.After, err = strconv.Atoi(parts[0]); err != nil {
			f.t.Fatal(err)
		}
		i.Kind = parts[1]
		use(i)
	}
}
