package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/socketpath"
)

// checkUser warns about files and sockets that the user of the configuration, to whom a server
// that root starts switches, cannot use. It fails if there is no such user.
func checkUser(path string, cfg *config.Config) (found []finding, err error) {
	err = privilege.UserView(cfg.User, func() {
		report := func(err error) {
			if errors.Is(err, fs.ErrPermission) {
				found = append(found, deniedFinding(cfg.User, err))
			}
		}
		// As the server reads them: what root can read, the user may not.
		mine, err := config.Load(path, config.All)
		report(err)
		if err == nil {
			for i := range mine.Services {
				report(mine.Services[i].Readable())
				report(connectable(&mine.Services[i]))
			}
			for i := range mine.HTTP() {
				_, err := mine.HTTP()[i].Site()
				report(err)
			}
		}
		_, err = clients.Load(cfg.ClientsPath, cfg.SecretFiles, nil)
		report(err)
		if cfg.FleetClients {
			report(cfg.ReadClientsKey())
		}
		report(usable(cfg.StateDir, unix.R_OK|unix.W_OK|unix.X_OK))
		entries, _ := os.ReadDir(cfg.StateDir)
		for _, e := range entries {
			report(usable(filepath.Join(cfg.StateDir, e.Name()), unix.R_OK|unix.W_OK))
		}
		report(usable(filepath.Dir(cfg.AdminSocket), unix.W_OK|unix.X_OK))
	})
	if errors.Is(err, privilege.ErrCannotView) {
		found = append(found, warn("user-unchecked", "run the command with CAP_SETUID and CAP_SETGID, which \"serve\" requires to switch users",
			"cannot check what user %s may use: %v", cfg.User, err))
		err = nil
	}
	return found, err
}

// usable returns an error if this thread lacks rights to a file, the right to write
// among them. If it does not exist, the nearest directory must be writable.
func usable(path string, rights uint32) error {
	err := unix.Faccessat(unix.AT_FDCWD, path, rights, unix.AT_EACCESS)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		return usable(filepath.Dir(path), unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// deniedFinding explains an error of permission; it runs with the rights of the
// user.
func deniedFinding(user string, err error) finding {
	hint := "give the user or one of its groups access to it"
	var of *fs.PathError
	if errors.As(err, &of) {
		path := of.Path
		switch dir := closedDirectory(path); {
		case dir != "":
			hint = fmt.Sprintf("let the user enter the directory %s: \"chgrp\" it to a group of the user, and \"chmod g+x\"", dir)
		case of.Op == "connect":
			hint = "add the user to the group of that socket, or let its program give the socket another group or mode"
		case of.Op == "write":
			hint = fmt.Sprintf("\"chown %s %s\" makes the user the owner", quoted(user), quoted(path))
		default:
			hint = fmt.Sprintf("\"chown %s %s\" makes the user the owner; or \"chgrp\" it to one of the user's groups (%s), and \"chmod g+r\"",
				quoted(user), quoted(path), strings.Join(privilege.GroupNames(user), ", "))
		}
	}
	return warn("user-denied", hint, "user %s, to which \"serve\" switches, lacks a right: %v", user, err)
}

// closedDirectory returns the first directory of a path that this thread cannot
// enter.
func closedDirectory(path string) string {
	path = filepath.Clean(path)
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if errors.Is(unix.Faccessat(unix.AT_FDCWD, path[:i], unix.X_OK, unix.AT_EACCESS), fs.ErrPermission) {
			return path[:i]
		}
	}
	return ""
}

// checkSockets warns about sockets that cannot be made at their path.
func checkSockets(cfg *config.Config, host config.Host) (found []finding) {
	paths := []string{cfg.AdminSocket}
	if cfg.NeedsFirewall(host) != "" {
		paths = append(paths, cfg.FirewallSocket)
	}
	for _, path := range paths {
		err := socketpath.Use(path, func(string) error { return nil })
		var long *socketpath.TooLongError
		if errors.As(err, &long) {
			found = append(found, warn("socket-path", long.Hint(), "%v", err))
		}
	}
	return found
}
