package guides

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxReadmeLines is the maximum number of lines of the README, without blank ones:
// it is what a newcomer reads. The guides have room for more.
const maxReadmeLines = 130

func TestReadmeIsShort(t *testing.T) {
	n := 0
	for line := range strings.Lines(readme(t)) {
		if strings.TrimSpace(line) != "" {
			n++
		}
	}
	if n > maxReadmeLines {
		t.Errorf("README.md has %d lines, want at most %d: move a part to a guide", n, maxReadmeLines)
	}
}

// dependency is the begin of a dependency's paragraph in the README. The link has
// the path of its module.
var dependency = regexp.MustCompile(`^\*\*\[[^\]]+\]\(https://pkg\.go\.dev/([^)]+)\)\*\* `)

// TestDependencies compares the paragraphs on dependencies with the direct
// requirements of all modules, and with their tools.
func TestDependencies(t *testing.T) {
	_, section, found := strings.Cut(readme(t), "\n## Dependencies\n")
	if !found {
		t.Fatal("README.md has no section Dependencies")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var stated []string
	for i, line := range strings.Split(strings.TrimSpace(section), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if i < 2 {
			continue // the head of the table
		}
		if len(cells) != 2 {
			t.Errorf("got %d cells, want 2: %s", len(cells), line)
			continue
		}
		for paragraph := range strings.SplitSeq(cells[1], "<br><br>") {
			m := dependency.FindStringSubmatch(paragraph)
			if m == nil {
				t.Errorf("the paragraph begins with no link to a module: %s", paragraph)
				continue
			}
			stated = append(stated, m[1])
			if !strings.Contains(paragraph, ". ") || !strings.HasSuffix(paragraph, ".") {
				t.Errorf("want sentences on the work of %s, and on the reason for it: %s", m[1], paragraph)
			}
		}
	}
	required := directRequirements(t)
	if len(required) < 20 {
		t.Errorf("found %d requirements, want more", len(required))
	}
	slices.Sort(stated)
	for i, path := range stated {
		if i > 0 && stated[i-1] == path {
			t.Errorf("README.md has two paragraphs on %s", path)
		}
		if !slices.Contains(required, path) {
			t.Errorf("README.md has a paragraph on %s, which no go.mod requires directly", path)
		}
	}
	for _, path := range required {
		if !slices.Contains(stated, path) {
			t.Errorf("README.md has no paragraph on %s: its work here, and why not by hand or by another", path)
		}
	}
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// directRequirements returns the modules that the modules of this repository
// require directly, and those of their tools.
func directRequirements(t *testing.T) (paths []string) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.Name() == "go.mod":
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		edit := exec.Command("go", "mod", "edit", "-json", file)
		edit.Stderr = new(bytes.Buffer)
		out, err := edit.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, edit.Stderr)
		}
		var module struct {
			Require []struct {
				Path     string
				Indirect bool
			}
			Tool []struct{ Path string }
		}
		if err := json.Unmarshal(out, &module); err != nil {
			t.Fatal(err)
		}
		for _, r := range module.Require {
			tool := slices.ContainsFunc(module.Tool, func(t struct{ Path string }) bool {
				return t.Path == r.Path || strings.HasPrefix(t.Path, r.Path+"/")
			})
			if (!r.Indirect || tool) && !slices.Contains(paths, r.Path) {
				paths = append(paths, r.Path)
			}
		}
	}
	return paths
}
