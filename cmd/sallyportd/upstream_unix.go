package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/relay"
)

// checkUnixUpstream warns about the path of an upstream that is not a socket, and
// advises about one at which no program listens. It does not connect.
func checkUnixUpstream(s *config.Service, path string, proc fs.FS) (found []finding) {
	is, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil // this user may not look; whether the server's may, see checkUser
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return []finding{warn("upstream-no-socket", "correct the path", "service %s: the upstream %s: %v", s.Name, s.Upstream(), hint.Cause(err))}
	case err == nil && is.Mode().Type() != fs.ModeSocket:
		return []finding{warn("upstream-no-socket", "correct the path", "service %s: the upstream %s is not a socket", s.Name, s.Upstream())}
	case err == nil && listensAtPath(proc, path):
		return nil
	}
	return []finding{{advice, "no-listener",
		fmt.Sprintf("service %s: no program on this host listens at its upstream %s", s.Name, s.Upstream()), "start that program"}}
}

// listensAtPath reports whether a stream socket listens at a path, by the list in
// /proc/net. A list that is missing counts as full.
func listensAtPath(proc fs.FS, path string) bool {
	const listens, stream = 1 << 16, 1 // __SO_ACCEPTCON, SOCK_STREAM
	text, err := fs.ReadFile(proc, "unix")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		flags, _ := strconv.ParseUint(fields[3], 16, 32)
		kind, _ := strconv.ParseUint(fields[4], 16, 16)
		_, bound, _ := strings.Cut(line, " "+fields[6]+" ") // a path may have blanks
		if flags&listens != 0 && kind == stream && samePath(strings.TrimSpace(bound), path) {
			return true
		}
	}
	return false
}

// samePath reports whether a socket that was bound to a path is another path. A
// relative one belongs to an unknown directory.
func samePath(bound, path string) bool {
	if !filepath.IsAbs(bound) || strings.HasPrefix(bound, "/proc/") {
		return filepath.Base(bound) == filepath.Base(path)
	}
	resolved := func(p string) string {
		if dir, err := filepath.EvalSymlinks(p); err == nil {
			return dir
		}
		return p
	}
	return bound == path || resolved(bound) == resolved(path)
}

// connectable returns an error if this thread may not connect to the Unix socket of
// an upstream that exists.
func connectable(s *config.Service) error {
	path := relay.Upstream(s.Upstream()).Unix()
	if path == "" {
		return nil
	}
	err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS)
	if errors.Is(err, fs.ErrPermission) {
		return &fs.PathError{Op: "connect", Path: path, Err: err}
	}
	return nil
}
