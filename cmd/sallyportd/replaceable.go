package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links the kernel follows in a path.
const maxLinks = 40

// replaceableBy returns a user or a group, other than root and the user except, with the
// right to replace a file, as the subject of a sentence; empty: there is none, or that
// cannot be found. The right to replace a link, or a directory above, counts as well.
func replaceableBy(path string, except uint32) string {
	at, rest := "/", components(path)
	for links := 0; links <= maxLinks; {
		next := ""
		if len(rest) > 0 {
			next = filepath.Join(at, rest[0])
		}
		if by := writableBy(at, next, except); by != "" || next == "" {
			return by
		}
		rest = rest[1:]
		target, err := os.Readlink(next)
		if err != nil {
			at = next
			continue
		}
		links++
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(components(target), rest...)
	}
	return ""
}

// components returns the parts of a path.
func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// writableBy returns a user or a group with the right to change a file; or, in a
// directory, to replace its entry next.
func writableBy(at, next string, except uint32) string {
	var s unix.Stat_t
	if unix.Lstat(at, &s) != nil {
		return ""
	}
	if s.Uid != 0 && s.Uid != except {
		return fmt.Sprintf("user %s, the owner of %s,", userName(s.Uid), at)
	}
	var entry unix.Stat_t
	if next != "" && s.Mode&unix.S_ISVTX != 0 && unix.Lstat(next, &entry) == nil {
		if entry.Uid != 0 && entry.Uid != except { // in such a directory, only an owner replaces an entry
			return fmt.Sprintf("user %s, the owner of %s,", userName(entry.Uid), next)
		}
		return ""
	}
	switch {
	case s.Mode&0o002 != 0:
		return fmt.Sprintf("each local user, by the mode of %s,", at)
	case s.Mode&0o020 != 0 && s.Gid != 0:
		return fmt.Sprintf("group %s, by the mode of %s,", groupName(s.Gid), at)
	}
	return ""
}

// userName returns a user's name, or else its number.
func userName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}

// groupName returns a group's name, or else its number.
func groupName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if g, err := user.LookupGroupId(number); err == nil {
		return g.Name
	}
	return number
}
