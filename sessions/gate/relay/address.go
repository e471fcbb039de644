package relay

import (
	"fmt"
	"path"
	"strings"

	syntax "sallyport/sessions/client"
)

// unixPrefix begins an upstream that is a Unix socket.
const unixPrefix = "unix:"

// Upstream is where connections or datagrams go: host:port, or "unix:" and the
// absolute path of a stream socket, which is for TCP services. ParseUpstream returns
// valid ones.
type Upstream string

// ParseUpstream checks an upstream. It resolves no name and opens no socket.
func ParseUpstream(s string) (Upstream, error) {
	name, isUnix := strings.CutPrefix(s, unixPrefix)
	switch host, _, err := syntax.SplitService(s); {
	case !isUnix && (err != nil || host == ""):
		return "", fmt.Errorf("expected host:port, or unix: and a path, got %q", s)
	case isUnix && (!path.IsAbs(name) || path.Clean(name) != name || name == "/"):
		return "", fmt.Errorf("expected an absolute path without \".\", \"..\" and empty parts after unix:, got %q", s)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("expected no control character, got %q", s)
	}
	return Upstream(s), nil
}

// UnixUpstream returns the upstream at the path of a Unix socket.
func UnixUpstream(path string) Upstream { return Upstream(unixPrefix + path) }

// Unix returns the path of a Unix socket; empty: it is a host and a port.
func (u Upstream) Unix() (path string) {
	path, found := strings.CutPrefix(string(u), unixPrefix)
	if !found {
		return ""
	}
	return path
}

// network returns what net.Dial requires.
func (u Upstream) network() (network, address string) {
	if path := u.Unix(); path != "" {
		return "unix", path
	}
	return "tcp", string(u)
}
