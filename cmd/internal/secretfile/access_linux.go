package secretfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	listName    = "system.posix_acl_access"
	listVersion = 2
)

// listOf returns the access control list of a file; nil: it has none.
func listOf(f *os.File) []entry {
	return parseList(func(b []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), listName, b) })
}

// listOfDirectory is listOf for a directory, which need not be readable.
func listOfDirectory(path string) []entry {
	return parseList(func(b []byte) (int, error) { return unix.Getxattr(path, listName, b) })
}

// parseList returns an access control list. A list that cannot be read contains
// one entry for a group that is not private.
func parseList(get func([]byte) (int, error)) []entry {
	unknown := []entry{{groupEntry, mayRead | mayWrite | mayEnter, unmapped}}
	b := make([]byte, 1<<16) // the kernel's limit of an attribute
	n, err := get(b)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil
	case err != nil || n < 4 || binary.LittleEndian.Uint32(b) != listVersion:
		return unknown
	}
	var entries []entry
	for b = b[4:n]; len(b) >= 8; b = b[8:] {
		entries = append(entries, entry{
			kind:   entryKind(binary.LittleEndian.Uint16(b)),
			rights: uint32(binary.LittleEndian.Uint16(b[2:])),
			id:     int(binary.LittleEndian.Uint32(b[4:])),
		})
	}
	if len(entries) == 0 {
		return unknown
	}
	return entries
}

// pathOf returns the path of a file that another program has opened.
func pathOf(f *os.File) string {
	if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err == nil {
		return path
	}
	return f.Name()
}

func onReadOnlyMount(f *os.File) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}
