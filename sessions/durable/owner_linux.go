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

// target is the file to which a path leads, and the user with whose rights to use
// it.
type target struct {
	path             string   // the path to use
	flags            int      // for open: O_NOFOLLOW, because all links are already followed
	dir              *os.File // the directory that contains the file; nil: unknown
	given            string   // the path as the caller knows it, for errors
	othersCanReplace bool     // another user than this one can replace the file
	impersonates     bool     // runAsUser changes to user
	user             fileUser // valid if impersonates
	uid              int      // the user of runAsUser; 0: this process's user
	owner            int      // of the directory
	linked           bool     // a link of a user other than root is on the path
}

// fileUser is the user for whom the kernel checks access to files.
type fileUser struct {
	uid, gid int
	groups   []int
}

// runAsUser runs f with the rights of the target's user.
func (p *target) runAsUser(f func() error) error {
	if !p.impersonates {
		return p.withGivenPath(f())
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
				err = fmt.Errorf("%s: the operation was aborted", p.path)
			}
			done <- err
		}()
		if err = p.user.assume(); err == nil {
			err = f()
		} else {
			err = &CannotActError{p.path, p.user.uid, err}
		}
		ended = true
	}()
	return p.withGivenPath(<-done)
}

// withGivenPath replaces the path in an error by the path that the caller knows.
func (p *target) withGivenPath(err error) error {
	var of *os.PathError
	if errors.As(err, &of) && p.path != p.given {
		if rest, ok := strings.CutPrefix(of.Path, p.path); ok {
			of.Path = p.given + rest
		}
	}
	return err
}

// assume makes the kernel check this thread's access to files as that user's.
// The change of the file system user ID drops the capabilities for files, such as
// CAP_DAC_OVERRIDE and CAP_CHOWN. The others stay, and no process of the user can
// signal or trace the thread (credentials(7), setfsuid(2)).
func (w fileUser) assume() error {
	groups := make([]uint32, len(w.groups)+1) // one more, so that groups[0] exists
	for i, g := range w.groups {
		groups[i] = uint32(g)
	}
	// For this thread only: the functions of package syscall change all threads.
	first := uintptr(unsafe.Pointer(&groups[0]))
	if _, _, e := unix.RawSyscall(sysSetgroups, uintptr(len(w.groups)), first, 0); e != 0 {
		return e
	}
	// These calls report no errors, so read the IDs back.
	unix.SetfsgidRetGid(w.gid)
	unix.SetfsuidRetUid(w.uid)
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	if uid != w.uid || gid != w.gid {
		return unix.EPERM
	}
	return nil
}

// actingUID returns the user for whom the kernel checks this thread's access to
// files.
func actingUID() (uid int) {
	uid, _ = unix.SetfsuidRetUid(-1)
	return uid
}

// lookupFileUser finds the groups of a user. A user ID without an entry in the
// list of users, which images often lack, has the group with the same number.
func lookupFileUser(uid int) fileUser {
	w := fileUser{uid: uid, gid: uid}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return w
	}
	if gid, err := strconv.Atoi(u.Gid); err == nil {
		w.gid = gid
	}
	ids, _ := u.GroupIds()
	for _, id := range ids {
		// setgroups(2) accepts at most 65536 groups.
		if gid, err := strconv.Atoi(id); err == nil && len(w.groups) < 1<<16 {
			w.groups = append(w.groups, gid)
		}
	}
	return w
}

func (p *target) close() {
	if p.dir != nil {
		p.dir.Close()
	}
}

// openRootsFile opens a file of root in a directory of the target's user: only
// root can have put it there. It does not follow a link of the user, and does not
// open a file with a second name, because the user can have made those.
func (p *target) openRootsFile() (f *os.File, ok bool) {
	if p.uid == 0 || p.linked || p.owner != p.uid {
		return nil, false
	}
	asRoot(func() {
		const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
		fd, err := unix.Openat(int(p.dir.Fd()), filepath.Base(p.path), flags, 0)
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

// chownLike gives a new file the owner of another. While root acts as a user, the
// new owner can only be root.
func (p *target) chownLike(f *os.File, of os.FileInfo) {
	if uid, _, ok := ownerOf(of); ok && (p.uid == 0 || uid == 0) {
		asRoot(func() { keepOwner(f, of) })
	}
}

// asRoot runs f in a thread that does not act as a user.
func asRoot(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// mapped reports whether a user ID is one of this user namespace.
func mapped(uid uint32) bool { return inRanges(userRanges(), uid) }

func inRanges(ranges [][2]uint64, uid uint32) bool {
	for _, r := range ranges {
		if u := uint64(uid); u >= r[0] && u-r[0] < r[1] {
			return true
		}
	}
	return false
}

// userRanges returns the ranges of user IDs of this user namespace: the first ID,
// and the number of IDs.
var userRanges = sync.OnceValue(func() [][2]uint64 {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return [][2]uint64{{0, 1 << 32}} // without /proc, all of them
	}
	return parseRanges(string(text))
})

// parseRanges parses a file such as /proc/self/uid_map (user_namespaces(7)).
func parseRanges(text string) (ranges [][2]uint64) {
	for line := range strings.Lines(text) {
		var first, outside, n uint64 // an int of 32 bits is too small
		if _, err := fmt.Sscan(line, &first, &outside, &n); err == nil {
			ranges = append(ranges, [2]uint64{first, n})
		}
	}
	return ranges
}
