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

// others stands for whoever may write to a directory beside its owner.
const others = -1

// maxLinks is how many links a path may lead through, as the kernel has it.
const maxLinks = 40

// walk goes along a path, a component at a time, and notes who could have led
// it elsewhere.
type walk struct {
	path   string
	dir    int    // of the directory reached, opened with O_PATH
	name   string // of the directory reached
	owner  int    // of that directory
	shared bool   // others than its owner can rename what is in it
	linker int    // who made a link on the way, or could have; 0: root alone
	above  []int  // the owners of the directories before it
	links  int
	magic  bool // the path goes on with a link of the kernel's own
}

// locate finds out where a path leads, and as whom to go there.
func locate(path string) (*place, error) { return locateBy(path, true) }

// locateName is locate for a name in a directory: if it is a link, the name is
// meant, and not what it leads to.
func locateName(path string) (*place, error) { return locateBy(path, false) }

func locateBy(path string, follow bool) (*place, error) {
	if os.Geteuid() != 0 {
		return &place{path: path, given: path}, nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &walk{path: path, dir: -1}
	defer func() { unix.Close(w.dir) }()
	rest, err := w.along(absolute, follow)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return w.place(rest)
}

// place is the end of a walk, with the components that remain.
func (w *walk) place(rest []string) (*place, error) {
	p := &place{path: w.path, given: w.path, owner: w.owner, linked: w.linker != 0, as: w.owner}
	if p.linked {
		p.as = w.linker
	}
	if already := acting(); already != 0 {
		p.as = already
	} else if p.as != 0 {
		p.acts, p.who = true, identify(p.as)
	}
	p.foreign = p.as != 0 || w.shared || slices.ContainsFunc(w.above, func(above int) bool { return above != 0 })
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
	// A directory of one user in that of another: the name may lead elsewhere in
	// the next moment, the descriptor does not.
	if slices.ContainsFunc(w.above, func(above int) bool { return above != 0 && above != p.as }) {
		held := filepath.Join("/proc/self/fd", strconv.Itoa(fd))
		p.path = filepath.Join(append([]string{held}, rest...)...)
		if _, err := os.Stat(held); err != nil {
			p.close()
			return nil, fmt.Errorf("%s: its directory lies in another user's, and to use it takes /proc: %w", w.path, err)
		}
	}
	return p, nil
}

// along goes as far as there is anything, and returns the components that are
// left: the last one, which is no link, and those of directories that are not
// there yet.
func (w *walk) along(absolute string, follow bool) (rest []string, err error) {
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
			// The kernel's own links, such as those of open files, are no paths.
			unix.Close(fd)
			w.magic = true
			return rest, nil
		case kind == unix.S_IFLNK:
			rest, err = w.follow(fd, rest[1:], trusted(st.Uid))
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

// follow puts what a link says in the place of the link.
func (w *walk) follow(link int, rest []string, owner int) ([]string, error) {
	if w.links++; w.links > maxLinks {
		return nil, unix.ELOOP
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", target)
	if err != nil {
		return nil, err
	}
	// A link of root's in a user's directory: the user can put another there.
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

func (w *walk) enter(fd int, name string, st *unix.Stat_t) {
	if w.dir >= 0 {
		unix.Close(w.dir)
	}
	w.above = append(w.above, w.owner)
	if w.shared {
		w.above = append(w.above, others)
	}
	w.dir, w.name, w.owner = fd, name, trusted(st.Uid)
	w.shared = st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0
}

// trusted is an owner's user ID. One that this user namespace does not have
// shows as a number that stands for all such: they are beyond its root, who
// could not act as them, and gains nothing over them.
func trusted(uid uint32) int {
	if !mapped(int(uid)) {
		return 0
	}
	return int(uid)
}

// components are those of a path, ".." among them: after a link it is not what
// stands before it.
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(c string) bool { return c == "" || c == "." })
}

func isProc(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC
}
