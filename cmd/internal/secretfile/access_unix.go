//go:build unix

package secretfile

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Check returns an ExposedError if other users than those of the rules can read or
// change an open file. Users cannot read a file in a directory that is closed to
// them, whatever its mode is. A group is private if no other user is a member.
func (r Rules) Check(path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := uint32(info.Mode().Perm())
	if mode&0o077 == 0 {
		return nil
	}
	entries := listOf(f)
	w := r.readers(info)
	for _, right := range []uint32{mayWrite, mayRead} {
		if right == mayRead && r.Shared {
			continue
		}
		others, entry, exposed := w.others(accessOf(info, entries, right))
		if !exposed || w.closedAbove(path, info) {
			continue
		}
		owner, uid := ownerOf(info), os.Geteuid()
		return exposure{
			path: path, mode: mode, others: others, entry: entry, change: right == mayWrite,
			readOnly: onReadOnlyMount(f), mayChmod: uid == 0 || uid == owner,
			owned: owner == w.reader || w.reader == 0, reader: nameOfUser(w.reader),
		}.err()
	}
	return nil
}

// readers are the users that may read a file.
type readers struct {
	reader  int // the user that must be able to read it
	allowed []int
	groups  []int // of the reader
	members *members
}

func (r Rules) readers(info fs.FileInfo) *readers {
	uid := os.Geteuid()
	w := &readers{reader: uid, allowed: []int{0, uid, ownerOf(info)}, members: new(members)}
	if groups, err := os.Getgroups(); err == nil {
		w.groups = append(groups, os.Getegid())
	}
	if r.User == "" {
		return w
	}
	u, err := user.Lookup(r.User)
	if err != nil {
		u, err = user.LookupId(r.User)
	}
	if err != nil { // a number needs no entry in the list of users
		u = &user.User{Uid: r.User, Gid: r.User}
	}
	other, err := strconv.Atoi(u.Uid)
	if err != nil {
		return w
	}
	w.reader, w.allowed, w.groups = other, append(w.allowed, other), nil
	ids, _ := u.GroupIds()
	for _, id := range append(ids, u.Gid) {
		if gid, err := strconv.Atoi(id); err == nil {
			w.groups = append(w.groups, gid)
		}
	}
	return w
}

// others returns the first of the other users that have a right. entry names it in
// the access control list.
func (w *readers) others(a access) (name, entry string, exposed bool) {
	if a.everyone {
		return "", "", true
	}
	for _, uid := range a.users {
		if !slices.Contains(w.allowed, uid) {
			name = nameOfUser(uid)
			return "user " + name, "u:" + name, true
		}
	}
	for _, g := range a.groups {
		if w.isPrivate(g.id) {
			continue
		}
		name = nameOfGroup(g.id)
		if g.kind == groupEntry {
			entry = "g:" + name
		}
		return "group " + name, entry, true
	}
	return "", "", false
}

// unmapped is the number that stands for all groups outside of a user namespace.
const unmapped = 65534

// isPrivate reports whether all members of a group may read the file. A group that
// the host does not list, as in a container, must be one of the reader.
func (w *readers) isPrivate(gid int) bool {
	uids, listed, complete := w.members.of(gid)
	if gid == unmapped || !complete || !listed && !slices.Contains(w.groups, gid) {
		return false
	}
	return !slices.ContainsFunc(uids, func(uid int) bool { return !slices.Contains(w.allowed, uid) })
}

// closedAbove reports whether a directory above the file keeps all others out.
func (w *readers) closedAbove(path string, info fs.FileInfo) bool {
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Nlink != 1 {
		return false // another name may be elsewhere
	}
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return false
	}
	if same, err := os.Lstat(path); err != nil || !os.SameFile(same, info) {
		return false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if w.isClosed(dir) {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// isClosed reports whether no others can search a directory. Its owner can open it.
func (w *readers) isClosed(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !slices.Contains(w.allowed, ownerOf(info)) {
		return false
	}
	_, _, exposed := w.others(accessOf(info, listOfDirectory(dir), mayEnter))
	return !exposed
}

func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

func groupOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Gid)
	}
	return -1
}

func nameOfUser(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func nameOfGroup(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
