package durable

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// place is where a path leads, and as whom to go there.
type place struct {
	path    string   // to use
	flags   int      // to open it with: no link is followed where all were
	dir     *os.File // that the path leads to; nil: not looked at
	given   string   // as it was given, for errors
	foreign bool     // others than this user can put something else there
	acts    bool     // as another user than this one
	who     identity
	as      int  // the user that do acts as, if it is not this one; else 0
	owner   int  // of the directory
	linked  bool // a link of a user's led there
}

// identity is a user as the kernel checks access to files.
type identity struct {
	uid, gid int
	groups   []int
}

// do runs f as the place's user.
func (p *place) do(f func() error) error {
	if !p.acts {
		return p.named(f())
	}
	done := make(chan error, 1)
	go func() {
		// The thread ends with the goroutine: no other goroutine ever runs as
		// this user, and new threads are not made from this one.
		runtime.LockOSThread()
		ended := false
		var err error
		defer func() {
			if !ended {
				err = fmt.Errorf("%s: not carried out", p.path)
			}
			done <- err
		}()
		if err = p.who.assume(); err == nil {
			err = f()
		} else {
			err = &CannotActError{p.path, p.who.uid, err}
		}
		ended = true
	}()
	return p.named(<-done)
}

// named has an error name the path as others know it.
func (p *place) named(err error) error {
	var of *os.PathError
	if errors.As(err, &of) && p.path != p.given {
		if rest, ok := strings.CutPrefix(of.Path, p.path); ok {
			of.Path = p.given + rest
		}
	}
	return err
}

// assume has the kernel check this thread's access to files as that user's.
// Changing the user ID for files drops the capabilities that go with root's,
// CAP_DAC_OVERRIDE and CAP_CHOWN among them; the others stay, and no process of
// the user can signal or trace the thread (credentials(7), setfsuid(2)).
func (w identity) assume() error {
	groups := make([]uint32, len(w.groups)+1) // with room, so that there is a first one
	for i, g := range w.groups {
		groups[i] = uint32(g)
	}
	// Of this thread alone: the syscall package's functions are for all.
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(w.groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return e
	}
	// Neither reports an error: what is in force has to be asked for.
	unix.SetfsgidRetGid(w.gid)
	unix.SetfsuidRetUid(w.uid)
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	if uid != w.uid || gid != w.gid {
		return unix.EPERM
	}
	return nil
}

// acting is the user that this thread of root's acts as.
func acting() (uid int) {
	uid, _ = unix.SetfsuidRetUid(-1)
	return uid
}

// identify finds the groups of a user. A number needs no entry in the list of
// users, which images often lack: its group is then that of the same number.
func identify(uid int) identity {
	w := identity{uid: uid, gid: uid}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return w
	}
	if gid, err := strconv.Atoi(u.Gid); err == nil {
		w.gid = gid
	}
	ids, _ := u.GroupIds()
	for _, id := range ids {
		// setgroups(2) takes no more.
		if gid, err := strconv.Atoi(id); err == nil && len(w.groups) < 1<<16 {
			w.groups = append(w.groups, gid)
		}
	}
	return w
}

func (p *place) close() {
	if p.dir != nil {
		p.dir.Close()
	}
}

// openRoots opens a file of root's that lies in the user's own directory: it is
// there because root has put it there. A link that the user made, and a second
// name of a file elsewhere, do not count.
func (p *place) openRoots() (f *os.File, ok bool) {
	if p.as == 0 || p.linked || p.owner != p.as {
		return nil, false
	}
	asRoot(func() {
		fd, err := unix.Openat(int(p.dir.Fd()), filepath.Base(p.path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Nlink != 1 {
			unix.Close(fd)
			return
		}
		f, ok = os.NewFile(uintptr(fd), p.path), true
	})
	return f, ok
}

// giveTo gives a new file the owner of another. While root acts as a user, it
// gives the user's file to nobody but to itself.
func (p *place) giveTo(f *os.File, of os.FileInfo) {
	if uid, _, ok := ownerOf(of); ok && (p.as == 0 || uid == 0) {
		asRoot(func() { keepOwner(f, of) })
	}
}

// asRoot runs f in a thread that acts as nobody else.
func asRoot(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// mapped reports whether a user ID is one of this user namespace.
func mapped(uid int) bool {
	for _, r := range userRanges() {
		if uid >= r[0] && uid-r[0] < r[1] {
			return true
		}
	}
	return false
}

// userRanges are the user IDs of this user namespace: first and how many.
var userRanges = sync.OnceValue(func() (ranges [][2]int) {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return [][2]int{{0, 1 << 32}} // without /proc, all of them
	}
	for line := range strings.Lines(string(text)) {
		var first, outside, n int
		if _, err := fmt.Sscan(line, &first, &outside, &n); err == nil {
			ranges = append(ranges, [2]int{first, n})
		}
	}
	return ranges
})
