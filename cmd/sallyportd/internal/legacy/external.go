package legacy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/cmd/internal/hint"
)

// Program is the external web server that the first implementation started and
// stopped (paper, section 6.5). Its files do not name it, so the administrator does.
type Program struct {
	Args []string // Args[0] is its path; none: sallyport does not start the web server
	User string   // to run as
}

// check returns an error if the configuration cannot have this program.
func (p Program) check() error {
	if len(p.Args) == 0 {
		if p.User == "" {
			return nil
		}
		return hint.With(errors.New("--program-user: expected the web server's program too, got no PROGRAM"),
			"name it after the flags: -- PROGRAM ARG…")
	}
	path := p.Args[0]
	if !filepath.IsAbs(path) {
		todo := "the server does not search for programs: write the whole path"
		if found, err := exec.LookPath(path); err == nil && filepath.IsAbs(found) {
			todo = "write " + found
		}
		return hint.With(fmt.Errorf("PROGRAM: expected an absolute path, got %q", path), todo)
	}
	for _, arg := range p.Args {
		if !utf8.ValidString(arg) || strings.ContainsRune(arg, 0) {
			return hint.With(fmt.Errorf("PROGRAM: expected UTF-8 without NUL, got %q", arg),
				"write a script that starts the web server, and name the script")
		}
	}
	const which = "name a user that can read the web server's files, and no other service's, such as www-data"
	switch p.User {
	case "":
		return hint.With(errors.New("expected --program-user with a PROGRAM"), which)
	case "root", "0":
		return hint.With(fmt.Errorf("--program-user: expected a user without privileges, got %q", p.User), which)
	}
	return nil
}

// external returns the type and the keys of a service that leads to a web server
// other than the embedded one.
func (im *importer) external(s *source) (kind, keys string, err error) {
	host, port, err := im.upstream(s)
	if err != nil {
		return "", "", err
	}
	upstream := net.JoinHostPort(host, strconv.Itoa(port))
	if len(im.program.Args) == 0 {
		if isLocal(host) {
			im.warn("the first implementation started and stopped the web server at %s; now it runs on its own, "+
				"unless you name its program: \"import DIR --program-user USER -- PROGRAM ARG…\"", upstream)
		}
		return "proxy", fmt.Sprintf("upstream = %q\n", upstream), nil
	}
	if strings.EqualFold(host, "localhost") {
		upstream = net.JoinHostPort(loopback, strconv.Itoa(port))
	} else if a, err := netip.ParseAddr(host); err != nil || !a.IsLoopback() {
		return "", "", hint.With(fmt.Errorf("%s: proxy-address: expected a loopback address for a program that the server starts, got %q", s.path, host),
			"a program that others can reach would bypass the gate: make it listen at 127.0.0.1, and set proxy-address=127.0.0.1; "+
				"or leave PROGRAM out if the web server runs on another host")
	}
	if info, err := os.Stat(im.program.Args[0]); err != nil || !info.Mode().IsRegular() {
		im.warn("this host has no file %s: the service opens only where the program exists", im.program.Args[0])
	}
	return "process", fmt.Sprintf(`upstream = %q
# The server starts this program when the service opens, and stops it after the last
# lease, as the first implementation did (paper, section 6.5).
program = %s
program_user = %s
`, upstream, tomlArray(im.program.Args), tomlString(im.program.User)), nil
}

// loopback is what an empty proxy-address means. Java connects to the loopback if the
// host is empty, and the web server must listen there, so that strangers cannot bypass
// the proxy (paper, section 6.5).
const loopback = "127.0.0.1"

// upstream returns where the web server listens. Only its port has no default.
func (im *importer) upstream(s *source) (host string, port int, err error) {
	if s.text("proxy-port", "") == "" {
		return "", 0, hint.With(fmt.Errorf("%s: with use-embedded-webserver=false, expected the port of the web server, got no value of proxy-port", s.path),
			"fill in the port at which the web server listens, such as proxy-port=8081; or set use-embedded-webserver=true")
	}
	if port, err = s.number("proxy-port", "", 1, 65535); err != nil {
		return "", 0, err
	}
	if s.text("proxy-address", "") == "" {
		im.warn("%s: proxy-address has no value: the web server is expected on this host, at %s", s.path, loopback)
		return loopback, port, nil
	}
	host, err = s.host("proxy-address", "")
	return host, port, err
}

func tomlArray(list []string) string {
	texts := make([]string, len(list))
	for i, text := range list {
		texts[i] = tomlString(text)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// tomlString returns a text in quotes. TOML has fewer escapes than Go.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
