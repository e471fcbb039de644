package durable

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// The users of these tests, other than root.
const (
	mallory = 65534
	other   = 65533
)

// twoDirectories makes a directory of root, with a file that only root may read,
// and a directory of a user. Other users can enter both.
func twoDirectories(t *testing.T) (roots, users, secret string) {
	t.Helper()
	top, err := os.MkdirTemp("", "durable-") // below /tmp, which is root's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	roots, users = filepath.Join(top, "root"), filepath.Join(top, "mallory")
	for path, owner := range map[string]int{top: 0, roots: 0, users: mallory} {
		err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, 0o755), os.Lchown(path, owner, owner))
		if err != nil {
			t.Fatal(err)
		}
	}
	secret = filepath.Join(roots, "shadow")
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	return roots, users, secret
}

// untouched fails the test if a file of root has changed.
func untouched(t *testing.T, path string) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	text, err := os.ReadFile(path)
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != 0 || info.Mode() != 0o600 || string(text) != "root's" || err != nil {
		t.Errorf("%s: owner %d, %v, %q, %v", path, st.Uid, info.Mode(), text, err)
	}
}

func uidOf(t *testing.T, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

// plant makes a file or link of mallory at a path.
func plant(t *testing.T, what, path, secret string) {
	t.Helper()
	var err error
	switch what {
	case "link":
		err = os.Symlink(secret, path)
	case "dangling link":
		err = os.Symlink(secret+".new.file", path)
	case "hard link":
		err = os.Link(secret, path)
	case "FIFO":
		err = unix.Mkfifo(path, 0o666)
	case "device":
		err = unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	case "directory":
		err = os.Mkdir(path, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	if what != "hard link" {
		if err := os.Lchown(path, mallory, mallory); err != nil {
			t.Fatal(err)
		}
	}
}

var plants = []string{"link", "dangling link", "hard link", "FIFO", "device", "directory"}

// TestRootFollowsNoUser: whatever a user puts at a path in the user's directory,
// a call of root does not change, read or make a file elsewhere, and does not
// block.
func TestRootFollowsNoUser(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	calls := map[string]func(path string) error{
		"lock": func(path string) error {
			l, err := TakeLock(t.Context(), path, filepath.Dir(path), time.Millisecond)
			if err == nil {
				l.Close()
			}
			return err
		},
		"lock that is there": func(path string) error {
			l, err := TakeExistingLock(t.Context(), path, time.Millisecond)
			if err == nil {
				l.Close()
			}
			return err
		},
		"read":           func(path string) error { _, err := ReadFile(path); return err },
		"create":         func(path string) error { return CreateFile(path, []byte("x"), 0o600) },
		"write":          func(path string) error { return WriteFile(path, []byte("x"), 0o600) },
		"remove":         Remove,
		"make directory": func(path string) error { return MkdirAll(filepath.Join(path, "a", "b"), 0o700) },
		"keep owner":     func(path string) error { return KeepOwner(path, filepath.Dir(path)) },
	}
	for name, call := range calls {
		for _, what := range plants {
			t.Run(name+"/"+what, func(t *testing.T) {
				roots, users, secret := twoDirectories(t)
				path := filepath.Join(users, "file")
				plant(t, what, path, secret)
				err := call(path)
				directory := what == "directory" && name == "make directory"
				if err == nil && name != "write" && name != "remove" && !directory {
					t.Errorf("no error")
				}
				untouched(t, secret)
				if entries, _ := os.ReadDir(roots); len(entries) != 1 {
					t.Errorf("made in root's directory: %v", entries)
				}
			})
		}
	}
}

// TestNewFileUnderWay: nor does a file at the temporary path of a new file.
func TestNewFileUnderWay(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, what := range plants {
		roots, users, secret := twoDirectories(t)
		path := filepath.Join(users, "file")
		plant(t, what, path+".new", secret)
		if err := WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		untouched(t, secret)
		if entries, _ := os.ReadDir(roots); len(entries) != 1 || uidOf(t, path) != mallory {
			t.Errorf("%s: %v, owner %d", what, entries, uidOf(t, path))
		}
	}
}

// TestFilesBelongToTheirDirectory: a file that root makes in a user's directory
// belongs to the user; a file that root edits keeps its owner.
func TestFilesBelongToTheirDirectory(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	roots, users, secret := twoDirectories(t)
	made := filepath.Join(users, "made")
	a := filepath.Join(users, "a")
	b := filepath.Join(a, "b")
	c := filepath.Join(b, "c")
	if err := errors.Join(CreateFile(made, nil, 0o600), MkdirAll(b, 0o700), WriteFile(c, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{made, a, b, c} {
		if uid := uidOf(t, path); uid != mallory {
			t.Errorf("%s belongs to %d", path, uid)
		}
	}
	// A file of root there: root can read it, and it is still root's after an edit.
	own := filepath.Join(users, "own")
	if err := os.WriteFile(own, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadFile(own); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if err := WriteFile(own, []byte("edited"), 0o600); err != nil || uidOf(t, own) != 0 {
		t.Errorf("%v, owner %d", err, uidOf(t, own))
	}
	// The same while this process acts as the user.
	err := AsOwner(own, func(path string) error {
		text, err := ReadFile(path)
		if string(text) != "edited" {
			t.Errorf("%q", text)
		}
		if _, err := os.ReadFile(secret); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("root's file is read: %v", err)
		}
		return errors.Join(err, WriteFile(path, []byte("again"), 0o600))
	})
	if err != nil || uidOf(t, own) != 0 {
		t.Errorf("%v, owner %d", err, uidOf(t, own))
	}
	// A user's file in root's directory stays the user's, and so is its lock.
	theirs := filepath.Join(roots, "theirs")
	err = errors.Join(os.WriteFile(theirs, nil, 0o600), os.Chown(theirs, other, other),
		WriteFile(theirs, []byte("x"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	l, err := TakeLock(t.Context(), theirs+".lock", theirs, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if uidOf(t, theirs) != other || uidOf(t, theirs+".lock") != other {
		t.Errorf("owners %d, %d", uidOf(t, theirs), uidOf(t, theirs+".lock"))
	}
	if uid, _ := unix.SetfsuidRetUid(-1); uid != 0 {
		t.Errorf("this thread acts as %d", uid)
	}
}

// TestLinksOfTheAdministrator: links of root are followed, and stay.
func TestLinksOfTheAdministrator(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	roots, users, _ := twoDirectories(t)
	link := filepath.Join(roots, "to-mallory")
	if err := os.Symlink("../mallory", link); err != nil {
		t.Fatal(err)
	}
	err := WriteFile(filepath.Join(link, "x"), []byte("1"), 0o600)
	if err != nil || uidOf(t, filepath.Join(users, "x")) != mallory {
		t.Errorf("through a directory: %v", err)
	}
	file := filepath.Join(roots, "file")
	if err := os.Symlink("shadow", file); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(file, []byte("root's"), 0o600); err != nil {
		t.Error(err)
	}
	if to, err := os.Readlink(file); err != nil || to != "shadow" {
		t.Errorf("the link: %q, %v", to, err)
	}
	untouched(t, filepath.Join(roots, "shadow"))
}

// TestLinksOfTwoUsers: a path through links of two users is refused.
func TestLinksOfTwoUsers(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	_, users, _ := twoDirectories(t)
	theirs := filepath.Join(filepath.Dir(users), "other")
	theirLink, link := filepath.Join(theirs, "link"), filepath.Join(users, "link")
	err := errors.Join(
		os.Mkdir(theirs, 0o755), os.Symlink("../mallory", theirLink), os.Symlink("../other/link", link),
		os.Lchown(theirs, other, other), os.Lchown(theirLink, other, other), os.Lchown(link, mallory, mallory))
	if err != nil {
		t.Fatal(err)
	}
	var mixed *MixedOwnerError
	err = CreateFile(filepath.Join(link, "file"), nil, 0o600)
	if !errors.As(err, &mixed) || mixed.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

// TestDirectorySwapped: a user swaps a directory with a link to root's directory
// while root uses it.
func TestDirectorySwapped(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	roots, users, secret := twoDirectories(t)
	// Once the directory belongs to the user, once root has made it there.
	for _, owner := range []int{mallory, 0} {
		room, trap := filepath.Join(users, "room"), filepath.Join(users, "trap")
		err := errors.Join(os.Mkdir(room, 0o700), os.Chown(room, owner, owner),
			os.Symlink(roots, trap), os.Lchown(trap, mallory, mallory))
		if err != nil {
			t.Fatal(err)
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					unix.Renameat2(unix.AT_FDCWD, room, unix.AT_FDCWD, trap, unix.RENAME_EXCHANGE)
				}
			}
		}()
		path, good := filepath.Join(room, "file"), 0
		for range 300 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if l, err := TakeLock(ctx, path+".lock", path, time.Millisecond); err == nil {
				l.Close()
				good++
			}
			cancel()
			WriteFile(path, []byte("x"), 0o600)
			ReadFile(filepath.Join(room, "shadow"))
			Remove(path)
		}
		close(stop)
		<-stopped
		if good == 0 {
			t.Error("never in time")
		}
		untouched(t, secret)
		if entries, _ := os.ReadDir(roots); len(entries) != 1 {
			t.Errorf("made in root's directory: %v", entries)
		}
		os.RemoveAll(room)
		os.RemoveAll(trap)
	}
}

// TestErrorsNameThePath: also if the descriptor of its directory is used.
func TestErrorsNameThePath(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	_, users, _ := twoDirectories(t)
	inner := filepath.Join(users, "roots")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := ReadFile(filepath.Join(inner, "file"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), inner) ||
		strings.Contains(err.Error(), "/proc") {
		t.Errorf("got %v", err)
	}
}

// TestLock: at most one holder has the lock at a time.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if _, err := TakeExistingLock(t.Context(), path, time.Millisecond); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no lock: %v", err)
	}
	l, err := TakeLock(t.Context(), path, path, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for _, take := range []func(context.Context) (*Lock, error){
		func(ctx context.Context) (*Lock, error) { return TakeLock(ctx, path, path, time.Millisecond) },
		func(ctx context.Context) (*Lock, error) { return TakeExistingLock(ctx, path, time.Millisecond) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that is held: %v", err)
		}
		cancel()
	}
	l.Close()
	if l, err = TakeExistingLock(t.Context(), path, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestErrorsNameThePathToAll: also if the process is not root's.
func TestErrorsNameThePathToAll(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	_, users, secret := twoDirectories(t)
	for _, uid := range []int{0, mallory} {
		for path, why := range map[string]error{
			filepath.Join(users, "none"): fs.ErrNotExist, secret: fs.ErrPermission,
		} {
			if uid == 0 && path == secret {
				continue
			}
			if err := syscall.Seteuid(uid); err != nil {
				t.Fatal(err)
			}
			_, err := ReadFile(path)
			if back := syscall.Seteuid(0); back != nil {
				t.Fatal(back)
			}
			var of *fs.PathError
			if !errors.Is(err, why) || !errors.As(err, &of) || of.Path != path {
				t.Errorf("user ID %d, %s: %v", uid, path, err)
			}
		}
	}
}
