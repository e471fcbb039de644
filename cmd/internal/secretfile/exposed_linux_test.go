package secretfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// acl returns an access control list: the owner reads and writes, the owning group
// has no right, and the mask is "r".
func acl(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range append(append([][3]uint32{{0x01, 6, ^uint32(0)}}, entries...), [3]uint32{0x10, 4, ^uint32(0)}, [3]uint32{0x20, 0, ^uint32(0)}) {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

const (
	ownGroupEntry, noRights, readRight = 0x04, 0, 4
	userKind, groupKind                = 0x02, 0x08
	everyID                            = ^uint32(0)
)

// TestExposed makes files as platforms hand secrets out: with other
// lists of users and groups.
func TestExposed(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	etc(t, map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\nsally:x:301:301::/:/bin/sh\nbob:x:302:302::/:/bin/sh\n",
		"group":  "root:x:0:\nsally:x:301:\nbob:x:302:\nmix:x:303:sally,bob\nalone:x:304:sally\nlost:x:305:nobody-here\n",
	})
	const sally = 301
	user := Rules{User: "sally"}
	for name, row := range map[string]struct {
		rules    Rules
		uid, gid int
		mode     os.FileMode
		list     []byte
		dir      os.FileMode
		want     string // of the error; empty: accepted
		hint     string
	}{
		"owner only":                    {mode: 0o600, dir: 0o755},
		"everybody":                     {mode: 0o644, dir: 0o755, want: "others may read the secrets in it (mode 0644)", hint: "chmod 600"},
		"everybody, shared":             {mode: 0o444, dir: 0o755, rules: Rules{Shared: true}},
		"everybody writes, shared":      {mode: 0o666, dir: 0o755, rules: Rules{Shared: true}, want: "others may change the secrets in it (mode 0666)", hint: "chmod 600"},
		"only executable":               {mode: 0o611, dir: 0o755},
		"everybody, closed directory":   {mode: 0o666, dir: 0o700},
		"everybody, searchable":         {mode: 0o644, dir: 0o711, want: "others may read", hint: "chmod 600"},
		"root's group":                  {mode: 0o440, dir: 0o755},
		"the user's own group":          {rules: user, gid: sally, mode: 0o440, dir: 0o755},
		"a group with the user only":    {rules: user, gid: 304, mode: 0o440, dir: 0o755},
		"a group of two":                {rules: user, gid: 303, mode: 0o440, dir: 0o755, want: "others may read the secrets in it (group mix, mode 0440)", hint: "chown sally '"},
		"a group of two, closed by it":  {rules: user, gid: 303, mode: 0o440, dir: 0o700},
		"group may write":               {rules: user, gid: 303, mode: 0o620, dir: 0o755, want: "others may change the secrets in it (group mix, mode 0620)", hint: "chown sally '"},
		"another user's group":          {gid: 302, mode: 0o440, dir: 0o755, want: "(group bob, mode 0440)", hint: "chmod 600"},
		"the user's group, without key": {gid: sally, mode: 0o440, dir: 0o755, want: "(group sally, mode 0440)", hint: "chmod 600"},
		"a group that is not listed":    {gid: 777, mode: 0o440, dir: 0o755, want: "(group 777, mode 0440)", hint: "chmod 600"},
		"own group, not listed":         {rules: Rules{User: "777"}, gid: 777, mode: 0o440, dir: 0o755},
		"a member without a user":       {gid: 305, mode: 0o440, dir: 0o755, want: "(group lost, mode 0440)", hint: "chmod 600"},
		"outside of the namespace":      {rules: Rules{User: "65534"}, gid: 65534, mode: 0o440, dir: 0o755, want: "others may read", hint: "chmod 600"},
		"list with the user": {
			rules: user, mode: 0o440, dir: 0o755,
			list: acl([3]uint32{userKind, readRight, sally}, [3]uint32{ownGroupEntry, noRights, everyID}),
		},
		"list with another user": {
			rules: user, mode: 0o440, dir: 0o755,
			list: acl([3]uint32{userKind, readRight, sally}, [3]uint32{userKind, readRight, 302}, [3]uint32{ownGroupEntry, noRights, everyID}),
			want: "(user bob, mode 0640)", hint: "setfacl -x u:bob '",
		},
		"list with a group": {
			rules: user, mode: 0o440, dir: 0o755,
			list: acl([3]uint32{ownGroupEntry, noRights, everyID}, [3]uint32{groupKind, readRight, 303}),
			want: "(group mix, mode 0640)", hint: "setfacl -x g:mix '",
		},
		"list without rights": {
			mode: 0o440, dir: 0o755,
			list: acl([3]uint32{userKind, noRights, 302}, [3]uint32{ownGroupEntry, noRights, everyID}),
		},
	} {
		dir := filepath.Join(t.TempDir(), "secrets")
		path := filepath.Join(dir, "secret")
		err := errors.Join(os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(dir, 0o700), os.WriteFile(path, []byte("s3cret\n"), 0o600),
			os.Chown(path, row.uid, row.gid), os.Chmod(path, row.mode), os.Chmod(dir, row.dir))
		if err == nil && row.list != nil {
			if err = unix.Setxattr(path, listName, row.list, 0); errors.Is(err, unix.ENOTSUP) {
				t.Logf("%s: no access control lists here", name)
				continue
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, name, row.rules, path, row.want, row.hint)
	}
}

func check(t *testing.T, name string, rules Rules, path, want, hint string) {
	t.Helper()
	s, err := rules.ReadOne(path)
	if want == "" {
		if err != nil || s != "s3cret" {
			t.Errorf("%s: %q, %v", name, s, err)
		}
		return
	}
	var exposed *ExposedError
	switch {
	case !errors.As(err, &exposed) || !strings.Contains(err.Error(), want):
		t.Errorf("%s: got %v, want %s", name, err, want)
	case !strings.Contains(exposed.Hint(), hint):
		t.Errorf("%s: hint %q, want %s", name, exposed.Hint(), hint)
	case strings.Contains(err.Error()+exposed.Hint(), "s3cret"):
		t.Errorf("%s: the error repeats the secret", name)
	}
}

// TestReadOnlyMount: a hint does not advise a change that the mount prevents.
func TestReadOnlyMount(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"),
		os.WriteFile(path, []byte("s3cret\n"), 0o444), unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	check(t, "private", Rules{}, path, "others may read", "its mount is read-only")
	check(t, "private", Rules{}, path, "others may read", `secret_files = "shared"`)
	check(t, "shared", Rules{Shared: true}, path, "", "")
	var exposed *ExposedError
	if _, err := readOne(path); !errors.As(err, &exposed) || strings.Contains(exposed.Hint(), "chmod") {
		t.Errorf("%v", err)
	}
}

// etc mounts a directory with these files as /etc.
func etc(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(dir, "/etc", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(fmt.Errorf("mount /etc: %w", err))
	}
	t.Cleanup(func() { unix.Unmount("/etc", 0) })
}

// TestForeignLists: another source may name members of a group, and users whose
// primary group it is. Then only the group of one user is private.
func TestForeignLists(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	etc(t, map[string]string{
		"passwd":        "root:x:0:0::/root:/bin/sh\nsally:x:301:301::/:/bin/sh\nbob:x:302:100::/:/bin/sh\n",
		"group":         "root:x:0:\nusers:x:100:\nsally:x:301:\nalone:x:304:\n",
		"nsswitch.conf": "hosts: dns\ngroup: files [NOTFOUND=return] sss # a directory\n",
	})
	m := new(members)
	for gid, want := range map[int]bool{0: true, 100: false, 301: true, 304: false, 777: false} {
		if _, _, complete := m.of(gid); complete != want {
			t.Errorf("group %d: complete %v", gid, complete)
		}
	}
}
