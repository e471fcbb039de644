package guides

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// secretFiles makes the files with secrets that the commands of the guides make, and
// returns their names.
func secretFiles(t *testing.T) (names []string) {
	t.Helper()
	dir := t.TempDir()
	for _, command := range [][]string{
		{"init", "gate", "--server", "gate.example.org"},
		{"client", "add", "-c", "gate/sallyportd.toml", "--out", "alice.toml"},
		{"client", "add", "-c", "gate/sallyportd.toml", "--out", "profile"},
		{"port-secret", "roll", "-c", "gate/sallyportd.toml"},
	} {
		cmd := exec.Command(filepath.Join(os.Getenv(programs), "sallyportd"), command...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) < 7 {
		t.Fatalf("%q, %v", names, err)
	}
	return append(names, "gate/web-alice.secret", "secret.txt", ".env")
}

// TestSecretsStayOut: the secrets that an administrator makes in the checkout, in
// any directory, are ignored by git; the project's own files are not.
func TestSecretsStayOut(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs")
	}
	dependOnAll(t)
	git := func(input string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		var fault bytes.Buffer
		cmd.Stderr = &fault
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, fault.String())
		}
		return string(out)
	}
	if err := exec.Command("git", "-C", root, "rev-parse").Run(); err != nil {
		t.Skip("needs git, and a checkout")
	}
	if err := buildOnce(); err != nil {
		t.Fatalf("build the programs: %v", err)
	}
	var paths []string
	for _, name := range secretFiles(t) {
		for _, dir := range []string{"", "cmd", "cmd/sallyportd", "container", "sessions/gate", "bench"} {
			paths = append(paths, path.Join(dir, name))
		}
	}
	ignored := git(strings.Join(paths, "\n")+"\n", "check-ignore", "--no-index", "--stdin")
	known := map[string]bool{}
	for _, p := range strings.Fields(ignored) {
		known[p] = true
	}
	for _, p := range paths {
		if !known[p] {
			t.Errorf("git add -A would add %s", p)
		}
	}
	if own := git("", "ls-files", "-ci", "--exclude-standard"); own != "" {
		t.Errorf(".gitignore ignores files of the project: %s", own)
	}
}

// TestDockerContext: .dockerignore lists what the build needs. container/test builds
// the image beside secrets.
func TestDockerContext(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
	if len(rules) < 2 || rules[0] != "*" {
		t.Fatalf("the first rule must exclude everything, got %q", rules)
	}
	for _, rule := range rules[1:] {
		allowed, allows := strings.CutPrefix(rule, "!")
		if !allows || strings.HasSuffix(allowed, "/**/*.go") || strings.HasSuffix(allowed, "/pages/*.html") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, allowed)); err != nil || strings.Contains(allowed, "*") {
			t.Errorf("%s may bring secrets into the build", rule)
		}
	}
}
