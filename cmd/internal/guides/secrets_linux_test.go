package guides

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
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

// TestDockerContext: .dockerignore lists the packages that the programs need, and
// nothing else. container/test builds the image beside secrets.
func TestDockerContext(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
	list := exec.Command("go", "list", "-deps", "-tags", "manual", "./cmd/sallyport", "./cmd/sallyportd", "./cmd/sallyportd/internal/withcaps")
	list.Dir = root
	packages, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"*", "!go.mod", "!go.sum", "!container/one-program", "!cmd/sallyportd/internal/config/reference.toml", "!sessions/gate/pages/*.html", "!cmd/sallyportd/internal/page/parts/*", "!cmd/sallyportd/internal/statuspage/parts/*", "!ingest/xdp/shield_bpfel.o"}
	var sources []string
	for _, p := range strings.Fields(string(packages)) {
		if dir, own := strings.CutPrefix(p, "sallyport/"); own {
			sources = append(sources, "!"+dir+"/*.go")
		}
	}
	want = append(append(want, sources...), "**/*_test.go")
	for _, rule := range want {
		if !slices.Contains(rules, rule) {
			t.Errorf(".dockerignore lacks %s", rule)
		}
	}
	for _, rule := range rules {
		if !slices.Contains(want, rule) {
			t.Errorf(".dockerignore has %s, which the build does not need", rule)
		}
	}
	if len(rules) == 0 || rules[0] != "*" {
		t.Error("the first rule must exclude everything")
	}
}
