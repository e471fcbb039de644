package guides

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/bench/netns"
)

func TestMain(m *testing.M) {
	netns.Together(8)
	inherited := os.Getenv(programs) != ""
	code := m.Run()
	if dir := os.Getenv(programs); dir != "" && !inherited {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// programs names the environment variable with the directory of the built
// programs. Tests that run again in a namespace inherit it.
const programs = "SALLYPORT_TEST_PROGRAMS"

// buildOnce builds the programs once for all guides. That also compiles what
// the "go build" of a guide then finds in Go's cache.
var buildOnce = sync.OnceValue(func() error {
	if os.Getenv(programs) != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "sallyport-programs")
	if err != nil {
		return err
	}
	os.Setenv(programs, dir)
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "./cmd/sallyport", "./cmd/sallyportd", "./cmd/floodbench")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

// Each guide is run by one test. A guide that needs sshd needs the host's root.
func TestReadme(t *testing.T) { runGuides(t, needs{ssh: true}, "README.md") }
func TestAdministrator(t *testing.T) {
	runGuides(t, needs{programs: true, tools: "nft openssl"}, "cmd/sallyportd/README.md")
}
func TestColleague(t *testing.T) {
	runGuides(t, needs{programs: true, ssh: true, gate: true, tpm: true, tools: "curl openssl swtpm tpm2_hmac"}, "cmd/sallyport/README.md")
}

// TestPrograms runs the blocks that are marked root, of the only guide that has some.
func TestPrograms(t *testing.T) {
	runGuides(t, needs{programs: true, root: true, tools: "busybox nginx curl nft useradd fail2ban-server"}, "cmd/sallyportd/README.md")
}

func TestOtherGuides(t *testing.T) {
	runGuides(t, needs{programs: true, gate: true}, others(t)...)
}

// alone are the guides that have a separate test.
var alone = []string{"README.md", "cmd/sallyportd/README.md", "cmd/sallyport/README.md"}

// others are all other guides of the repository.
func others(t *testing.T) (paths []string) {
	t.Helper()
	walk(t, func(path string) {
		guide := filepath.Base(path) == "README.md" || path == "SECURITY.md" || path == ".github/CONTRIBUTING.md"
		if guide && !slices.Contains(alone, path) {
			paths = append(paths, path)
		}
	})
	return paths
}

// walk visits the files of the checkout.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == ".git" || path == "bin" || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.Type().IsRegular():
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dependOnAll makes the cached result of this test depend on each file of the
// checkout: the test itself reads none of them in this process.
func dependOnAll(t *testing.T) {
	t.Helper()
	walk(t, func(path string) {
		os.Stat(filepath.Join(root, path)) // which "go test" records
	})
}

func load(t *testing.T, path string) guide {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	g, err := parse(path, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// runGuides runs every command of guides, one after the other, on the same hosts.
func runGuides(t *testing.T, n needs, paths ...string) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the programs, and waits for leases")
	}
	dependOnAll(t)
	if err := buildOnce(); err != nil {
		t.Fatalf("build the programs: %v", err)
	}
	if n.ssh {
		n.tools += " /usr/sbin/sshd ssh scp ssh-keygen"
	}
	for _, tool := range strings.Fields(n.tools) {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	if n.ssh || n.root {
		if !netns.EnterPrivileged(t) {
			return
		}
		if n.ssh && !canLogIn(t) {
			t.Skip("root cannot log in on this host")
		}
	} else if !netns.Enter(t) {
		return
	}
	w := newWorld(t, n)
	ids := identifiers{}
	for _, path := range paths {
		g := load(t, path)
		r := run{world: w, guide: g, ids: ids}
		kept := len(w.server.running)
		for _, b := range g.blocks {
			if b.mark.root == n.root {
				r.block(b)
			} else {
				r.elsewhere += len(b.commands)
			}
		}
		switch {
		case n.root:
			if r.here == 0 {
				t.Errorf("%s has no commands that are marked root", path)
			}
			w.recipes()
		case path == "cmd/sallyportd/README.md":
			r.synopses("sallyportd", "serve")
		case path == "cmd/sallyport/README.md":
			r.synopses("sallyport", "knock")
		case path == "bench/README.md":
			r.synopses("floodbench", "run")
		}
		w.client.endFrom(0)
		w.server.endFrom(kept)
		if found := g.commands(); found != r.here+r.elsewhere {
			t.Errorf("%s has %d commands: %d were run here, %d are run elsewhere", path, found, r.here, r.elsewhere)
		}
		t.Logf("%s: %d commands, %d run here, %d run elsewhere", path, g.commands(), r.here, r.elsewhere)
	}
}

// run is a guide that is being run.
type run struct {
	*world
	guide           guide
	ids             identifiers
	here, elsewhere int // commands that were run, or are run by a script
}

func (r *run) block(b block) {
	r.t.Helper()
	at := fmt.Sprintf("%s:%d", r.guide.path, b.line)
	s := r.server
	if b.mark.client {
		s = r.client
	}
	var err error
	switch b.mark.action {
	case "file":
		err = os.WriteFile(s.path(b.mark.of), []byte(r.ids.replace(b.text)), 0o600)
	case "append":
		err = s.appendTo(s.path(b.mark.of), r.ids.replace(b.text))
	case "docker", "systemd", "packages":
		err = inContainerTest(b.mark.action, b.mark.of)
		r.elsewhere += len(b.commands)
	case "gate":
		err = inGate(b.mark.of)
		for _, c := range b.commands {
			err = errors.Join(err, checkCommand(c.text))
		}
		r.elsewhere += len(b.commands)
	default:
		for _, c := range b.commands {
			r.command(s, c)
		}
	}
	if err != nil {
		r.t.Fatalf("%s: %v", at, err)
	}
	if b.language == "toml" {
		r.check(at, b)
	}
}

// command runs a command, and compares its output with the one shown.
func (r *run) command(s *session, c command) {
	r.t.Helper()
	at := fmt.Sprintf("%s:%d: %s", r.guide.path, c.line, c.text)
	text := r.ids.replace(c.text)
	shown := make([]string, len(c.output))
	for i, line := range c.output {
		shown[i] = strings.ReplaceAll(line, "/home/alice", r.client.home)
	}
	r.here++
	if strings.HasPrefix(text, "go test ") { // which passes if no test matches a pattern
		if err := checkCommand(text); err != nil {
			r.t.Errorf("%s: %v", at, err)
		}
	}
	if c.runsOn {
		s.endSame(text)
		shown = append(shown, "…")
		if err := s.runOn(text, func(out string) bool { return r.ids.match(shown, out) }); err != nil {
			r.t.Fatalf("%s: want the output\n%s\nThe command %v", at, strings.Join(c.output, "\n"), err)
		}
		return
	}
	out, err := s.run(text)
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", at, err, out)
	}
	if len(shown) > 0 && !r.ids.match(shown, out) {
		r.t.Errorf("%s: the guide shows\n%s\nThe command printed\n%s", at, strings.Join(c.output, "\n"), out)
	}
}

// check checks a configuration with the program. A block that was written or
// added to a file is checked as that file, by the guide's own commands.
func (r *run) check(at string, b block) {
	r.t.Helper()
	if b.mark.action != "" {
		return
	}
	dir := r.t.TempDir()
	r.server.must(fmt.Sprintf("sallyportd init '%s/gate' --server %s", dir, serverName))
	r.server.must(fmt.Sprintf("sallyportd client add com1 -c '%[1]s/gate/sallyportd.toml' --out '%[1]s/com1.toml'", dir))
	text := b.text
	for _, m := range regexp.MustCompile(`(?m)^service = "([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(text, fmt.Sprintf("name = %q", m[1])) {
			text += fmt.Sprintf("[[service]]\nname = %q\ntype = \"web\"\nlisten = \":8443\"\n", m[1])
		}
	}
	if !strings.Contains(text, "version =") {
		text = "version = 1\nports = 3\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n" + text
	}
	r.write(filepath.Join(dir, "gate/sallyportd.toml"), text)
	for _, m := range regexp.MustCompile(`(?m)^(?:secret|password|relay_key)_file = "([^"]*)"`).FindAllStringSubmatch(text, -1) {
		r.write(filepath.Join(dir, "gate", m[1]), strings.Repeat("0123456789abcdef", 4)+"\n")
	}
	if m := regexp.MustCompile(`(?m)^clients_key_file = "([^"]*)"`).FindStringSubmatch(text); m != nil {
		r.write(filepath.Join(dir, "gate", m[1]), "sallyport-clients-key-"+strings.Repeat("0123456789abcdef", 4)+"\n")
	}
	if out, err := r.server.run(fmt.Sprintf("sallyportd check -c '%s/gate/sallyportd.toml'", dir)); err != nil {
		r.t.Errorf("%s: %v\n%s", at, err, out)
	}
}

// inContainerTest reports whether a test in container/ runs the blocks of a kind and a
// name.
func inContainerTest(kind, name string) error {
	var text []byte
	for _, file := range []string{"container/test", "container/test-fleet", "container/test-systemd", "container/test-systemd-programs", "container/packages/test"} {
		part, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return err
		}
		text = append(text, part...)
	}
	if !regexp.MustCompile(`(?m)^[^#\n]*\bguide ` + kind + " " + regexp.QuoteMeta(name) + `(?:\s|$)`).Match(text) {
		return fmt.Errorf("no test in container/ runs %s %s", kind, name)
	}
	return nil
}

// inGate reports whether the gate runs the block of a name: it reads the commands
// from the guide.
func inGate(name string) error {
	text, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`(?m)^[^#\n]*\b(?:guide|block) ` + regexp.QuoteMeta(name) + `(?:\s|$)`).Match(text) {
		return fmt.Errorf(".ci/run does not run %s", name)
	}
	return nil
}
