package privilege

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
)

// identity is a user to run as.
type identity struct {
	uid, gid int
	groups   []int // all groups of the user, by the host's list of groups
}

// maxID is the largest number of a user or a group: for system calls, the next one means
// that nothing changes.
const maxID = math.MaxUint32 - 1

// findUser looks a user up, by name or number. The configuration has it in a key, which
// errors name.
func findUser(key, name string) (who identity, err error) {
	u, err := user.Lookup(name)
	n, notNumeric := strconv.ParseInt(name, 10, 64)
	switch {
	case err == nil || errors.Is(notNumeric, strconv.ErrSyntax):
	case notNumeric != nil || n < 0 || n > maxID: // LookupId may use 32 bits of it
		return who, hint.Misuse(fmt.Errorf("%s: expected a name, or a number of at most %d, got %q", key, maxID, name))
	default:
		u, err = user.LookupId(name)
	}
	if err == nil {
		who, err = identityOf(u)
	}
	// A number needs no entry in the list of users, which images often lack.
	if err != nil && notNumeric == nil && n > 0 {
		return identity{int(n), int(n), []int{int(n)}}, nil
	}
	var unknown user.UnknownUserError
	var unknownID user.UnknownUserIdError
	if errors.As(err, &unknown) || errors.As(err, &unknownID) {
		err = errors.New("this host has no such user")
	}
	if err != nil {
		return who, hint.Misuse(hint.With(fmt.Errorf("%s = %q: %w", key, name, err),
			fmt.Sprintf("\"useradd --system %s\" makes the user; or name one that exists, by name or number", name)))
	}
	return who, nil
}

func identityOf(u *user.User) (who identity, err error) {
	if who.uid, err = strconv.Atoi(u.Uid); err != nil {
		return who, err
	}
	if who.gid, err = strconv.Atoi(u.Gid); err != nil {
		return who, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return who, fmt.Errorf("find the user's groups: %w", err)
	}
	for _, id := range ids {
		g, err := strconv.Atoi(id)
		if err != nil {
			return who, err
		}
		who.groups = append(who.groups, g)
	}
	return who, nil
}

// lookupUser finds the user of the configuration, to which this process must
// switch; nil: it need not, because none is configured or it runs as that user.
func lookupUser(name string) (*identity, error) {
	if name == "" {
		return nil, nil
	}
	who, err := findUser("user", name)
	if err != nil || who.uid == os.Geteuid() {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, hint.Misuse(hint.With(fmt.Errorf("user = %q: only root can switch to another user", name),
			"start the server as root or as that user, or remove the key"))
	}
	return &who, nil
}

// Become makes this whole process run as the user of the configuration, if it runs as
// root, for a command that only asks the server. With an error it runs as before, or has
// lost groups of root.
func Become(name string) error {
	who, err := lookupUser(name)
	if err != nil || who == nil {
		return err
	}
	if err := syscall.Setgroups(who.groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setgid(who.gid); err != nil {
		return os.NewSyscallError("setgid", err)
	}
	return os.NewSyscallError("setuid", syscall.Setuid(who.uid))
}

// lookupOther finds another user, to which this process must switch.
func lookupOther(name string) (*identity, error) {
	who, err := findUser("user", name)
	if err != nil {
		return nil, err
	}
	if who.uid == 0 || who.uid == os.Geteuid() {
		return nil, fmt.Errorf("expected another user than root and the server's, got %q", name)
	}
	return &who, nil
}

// credentials are the real, effective and saved IDs of this process, and its
// groups.
type credentials struct {
	uids, gids [3]int
	groups     []int // in ascending order
}

func current() (c credentials, err error) {
	c.uids[0], c.uids[1], c.uids[2] = unix.Getresuid()
	c.gids[0], c.gids[1], c.gids[2] = unix.Getresgid()
	if c.groups, err = unix.Getgroups(); err != nil {
		return c, os.NewSyscallError("getgroups", err)
	}
	slices.Sort(c.groups)
	return c, nil
}

// Unreadable adds a hint to a permission error: the user and groups of this
// process, which are not those with which an administrator may have tested the
// file. A port is no file.
func Unreadable(err error) error {
	var socket *net.OpError
	port := errors.As(err, &socket) && !strings.HasPrefix(socket.Net, "unix")
	if port || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	is, failed := current()
	if failed != nil {
		return err
	}
	groups := []string{groupName(is.gids[1])}
	for _, g := range is.groups {
		if g != is.gids[1] {
			groups = append(groups, groupName(g))
		}
	}
	who := strconv.Itoa(is.uids[1])
	if u, err := user.LookupId(who); err == nil {
		who = fmt.Sprintf("%s (%s)", u.Username, who)
	}
	way := "give the user or one of the groups access to that path"
	var of *fs.PathError
	if errors.As(err, &of) {
		if dir := denyingDirectory(of.Path); dir != "" {
			way = fmt.Sprintf("give the user or one of the groups access to the directory '%s'", dir)
		} else {
			way += fmt.Sprintf(", for example: chown %d '%s'", is.uids[1], of.Path)
		}
	}
	return hint.With(err, fmt.Sprintf("this process runs as user %s, with the groups %s and no privilege: %s", who, strings.Join(groups, ", "), way))
}

// denyingDirectory returns the directory that prevents the use of a file: one that this
// process may not enter, or that of a file that does not exist.
func denyingDirectory(path string) string {
	var enter func(dir string) string
	enter = func(dir string) string {
		if up := filepath.Dir(dir); up != dir {
			if denying := enter(up); denying != "" {
				return denying
			}
		}
		if unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS) == unix.EACCES {
			return dir
		}
		return ""
	}
	dir := filepath.Dir(path)
	if denying := enter(dir); denying != "" {
		return denying
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(path) {
		return dir
	}
	return ""
}

// groupName returns a group's name and number, or the number alone.
func groupName(id int) string {
	number := strconv.Itoa(id)
	g, err := user.LookupGroupId(number)
	if err != nil {
		return number
	}
	return fmt.Sprintf("%s (%d)", g.Name, id)
}
