package secretfile

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// members finds the members of groups in the host's lists of users and groups.
type members struct {
	read    bool
	users   [][]string // the fields of passwd(5)
	groups  [][]string // the fields of group(5)
	foreign bool       // there are other lists, as of a directory service
}

// GroupOnlyOf reports whether a group of this host has no other members than these users,
// as far as the host's lists of users and groups show. A group without an entry in the
// lists has none.
func GroupOnlyOf(gid int, users ...int) bool {
	uids, _, complete := new(members).of(gid)
	return complete && !slices.ContainsFunc(uids, func(uid int) bool { return !slices.Contains(users, uid) })
}

// of returns the members of a group, whether the host's lists contain the group,
// and whether these are all members.
func (m *members) of(gid int) (uids []int, listed, complete bool) {
	m.load()
	id := strconv.Itoa(gid)
	complete = true
	for _, g := range m.groups {
		if g[2] != id {
			continue
		}
		listed = true
		for name := range strings.SplitSeq(g[3], ",") {
			if name == "" {
				continue
			}
			uid, known := m.uid(name)
			complete = complete && known
			uids = append(uids, uid)
		}
	}
	for _, u := range m.users {
		if u[3] == id {
			uid, err := strconv.Atoi(u[2])
			complete = complete && err == nil
			uids = append(uids, uid)
		}
	}
	return uids, listed, complete && (!m.foreign || m.isUserGroup(id))
}

// isUserGroup reports whether a group is that of one user: root's, or a user's
// primary group of the same name. In another list, such as that of a directory
// service, users may have any other group of this host as their primary group.
func (m *members) isUserGroup(gid string) bool {
	return gid == "0" || slices.ContainsFunc(m.groups, func(g []string) bool {
		return g[2] == gid && slices.ContainsFunc(m.users, func(u []string) bool { return u[0] == g[0] && u[3] == gid })
	})
}

func (m *members) uid(name string) (uid int, known bool) {
	for _, u := range m.users {
		if u[0] == name {
			uid, err := strconv.Atoi(u[2])
			return uid, err == nil
		}
	}
	return 0, false
}

func (m *members) load() {
	if m.read {
		return
	}
	m.read = true
	m.users, m.foreign = table("/etc/passwd", 4)
	var more bool
	m.groups, more = table("/etc/group", 4)
	m.foreign = m.foreign || more || foreignSources()
}

// table returns the fields of a file's lines. foreign: a line leads to another list.
func table(path string, fields int) (rows [][]string, foreign bool) {
	text, err := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		row := strings.Split(strings.TrimSpace(line), ":")
		switch {
		case strings.HasPrefix(line, "+"):
			foreign = true
		case len(row) >= fields && !strings.HasPrefix(line, "#"):
			rows = append(rows, row)
		}
	}
	return rows, foreign || err != nil && !os.IsNotExist(err)
}

// foreignSources reports whether nsswitch.conf(5) names a source of users or groups
// other than this host.
func foreignSources() bool {
	text, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		return !os.IsNotExist(err)
	}
	own := []string{"files", "compat", "systemd", "altfiles"}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		list, sources, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(list) {
		case "passwd", "group", "initgroups":
		default:
			continue
		}
		for _, source := range strings.Fields(sources) {
			if !strings.HasPrefix(source, "[") && !strings.HasSuffix(source, "]") && !slices.Contains(own, source) {
				return true
			}
		}
	}
	return false
}
