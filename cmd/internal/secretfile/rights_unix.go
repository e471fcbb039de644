//go:build unix

package secretfile

import "io/fs"

// The rights of a mode.
const (
	mayRead  = 4
	mayWrite = 2
	mayEnter = 1
)

// access is who has a right to a file or directory, in addition to its owner and
// root.
type access struct {
	everyone bool
	users    []int
	groups   []entry
}

// entry is an entry of an access control list.
type entry struct {
	kind   entryKind
	rights uint32
	id     int
}

type entryKind uint16

// The kinds of entries (acl(5)) that the mode does not contain.
const (
	userEntry   entryKind = 0x02
	owningGroup entryKind = 0x04
	groupEntry  entryKind = 0x08
)

// accessOf returns who has a right, by the mode, or by the access control list if
// there is one: then the group bits of the mode are the mask of the list.
func accessOf(info fs.FileInfo, entries []entry, right uint32) access {
	mode := uint32(info.Mode().Perm())
	a := access{everyone: mode&right != 0}
	if mode&(right<<3) == 0 {
		return a
	}
	if len(entries) == 0 {
		a.groups = []entry{{owningGroup, right, groupOf(info)}}
	}
	for _, e := range entries {
		if e.rights&right == 0 {
			continue
		}
		switch e.kind {
		case userEntry:
			a.users = append(a.users, e.id)
		case owningGroup:
			e.id = groupOf(info)
			a.groups = append(a.groups, e)
		case groupEntry:
			a.groups = append(a.groups, e)
		}
	}
	return a
}
