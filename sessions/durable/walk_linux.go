package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// others stands for the users, other than its owner, that may write to a directory.
const others = -1

// maxLinks is the maximum number of links on a path, as in the kernel.
const maxLinks = 40

// walk follows a path, one component at a time, and records the users that can
// change where it leads.
type walk struct {
	path   string
	dir    int    // the current directory, opened with O_PATH
	name   string // of the current directory
	owner  int    // of the current directory
	shared bool   // users other than its owner can rename files in it
	linker int    // the user that made, or could have made, a link on the path; 0: only root
	above  []int  // the owners of the directories before it
	links  int    // followed so far
	magic  bool   // the next component is a link of /proc
}

// locate resolves a path, and finds the user with whose rights to use it.
func locate(path string) (*target, error) { return locateBy(path, true) }

// locateName is locate, but does not follow a link in the last component.
func locateName(path string) (*target, error) { return locateBy(path, false) }

func locateBy(path string, follow bool) (*target, error) {
	if os.Geteuid() != 0 {
		return &target{path: path, given: path}, nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &walk{path: path, dir: -1}
	defer func() { unix.Close(w.dir) }()
	rest, err := w.resolve(absolute, follow)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return w.target(rest)
}

// target returns the result of a walk. rest are the remaining components.
func (w *walk) target(rest []string) (*target, error) {
	p := &target{path: w.path, given: w.path, owner: w.owner, linked: w.linker != 0, uid: w.owner}
	if p.linked {
		p.uid = w.linker
	}
	if already := actingUID(); already != 0 {
		p.uid = already
	} else if p.uid != 0 {
		p.impersonates, p.user = true, lookupFileUser(p.uid)
	}
	p.othersCanReplace = p.uid != 0 || w.shared ||
		slices.ContainsFunc(w.above, func(above int) bool { return above != 0 })
	if !w.magic {
		p.flags = unix.O_NOFOLLOW
	}
	if w.links > 0 {
		p.path = filepath.Join(append([]string{w.name}, rest...)...)
	}
	fd, err := unix.FcntlInt(uintptr(w.dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	p.dir = os.NewFile(uintptr(fd), w.name)
	// In a directory of one user below the directory of another, the name can lead
	// elsewhere at any moment; a descriptor cannot.
	if slices.ContainsFunc(w.above, func(above int) bool { return above != 0 && above != p.uid }) {
		held := filepath.Join("/proc/self/fd", strconv.Itoa(fd))
		p.path = filepath.Join(append([]string{held}, rest...)...)
		if _, err := os.Stat(held); err != nil {
			p.close()
			return nil, fmt.Errorf("%s: its directory is in another user's directory, which requires /proc: %w",
				w.path, err)
		}
	}
	return p, nil
}

// resolve follows a path as far as it exists, and returns the remaining
// components: the last one, which is not a link, and those of directories that do
// not exist yet.
func (w *walk) resolve(absolute string, follow bool) (rest []string, err error) {
	if err := w.root(); err != nil {
		return nil, err
	}
	rest = components(absolute)
	for len(rest) > 0 {
		name := rest[0]
		fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return rest, nil
		}
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return nil, err
		}
		switch kind := st.Mode & unix.S_IFMT; {
		case len(rest) == 1 && !follow:
			unix.Close(fd)
			return rest, nil
		case kind == unix.S_IFLNK && isProc(fd):
			// The links of /proc, such as those to open files, are not paths.
			unix.Close(fd)
			w.magic = true
			return rest, nil
		case kind == unix.S_IFLNK:
			rest, err = w.follow(fd, rest[1:], mappedOwner(st.Uid))
			unix.Close(fd)
			if err != nil {
				return nil, err
			}
		case len(rest) == 1:
			unix.Close(fd)
			return rest, nil
		case kind == unix.S_IFDIR:
			w.enter(fd, filepath.Join(w.name, name), &st)
			rest = rest[1:]
		default:
			unix.Close(fd)
			return nil, unix.ENOTDIR
		}
	}
	return []string{"."}, nil // the root itself
}

// follow replaces a link by the components of its target.
func (w *walk) follow(link int, rest []string, owner int) ([]string, error) {
	if w.links++; w.links > maxLinks {
		return nil, unix.ELOOP
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", target)
	if err != nil {
		return nil, err
	}
	// A user can replace a link of root in the user's directory.
	if owner == 0 {
		owner = w.owner
	}
	if owner != 0 && w.linker != 0 && owner != w.linker {
		return nil, &MixedOwnerError{w.path, [2]int{w.linker, owner}}
	}
	if owner != 0 {
		w.linker = owner
	}
	if filepath.IsAbs(string(target[:n])) {
		if err := w.root(); err != nil {
			return nil, err
		}
	}
	return append(components(string(target[:n])), rest...), nil
}

// root goes to the root directory.
func (w *walk) root() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	w.enter(fd, "/", &st)
	w.above = nil
	return nil
}

// enter goes to a directory.
func (w *walk) enter(fd int, name string, st *unix.Stat_t) {
	if w.dir >= 0 {
		unix.Close(w.dir)
	}
	w.above = append(w.above, w.owner)
	if w.shared {
		w.above = append(w.above, others)
	}
	w.dir, w.name, w.owner = fd, name, mappedOwner(st.Uid)
	w.shared = st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0
}

// mappedOwner returns an owner's user ID, or 0 if this user namespace does not
// have it: the kernel reports one number for all such IDs. Such a user is outside
// of the namespace: its root cannot act as that user, and has no rights over that
// user's files.
func mappedOwner(uid uint32) int {
	if !mapped(uid) {
		return 0
	}
	return int(uid)
}

// components splits a path. It keeps "..", because after a link ".." is not the
// component before it.
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(c string) bool { return c == "" || c == "." })
}

func isProc(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC
}
