package guides

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the checkout, seen from this package.
const root = "../../.."

var (
	link       = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced     = regexp.MustCompile("(?ms)^```.*?^```$")
	inline     = regexp.MustCompile("`[^`\n]*`")
	notInSlugs = regexp.MustCompile(`[^\p{L}\p{N}\-_ ]`)
)

// TestLinks holds that each relative link of each Markdown file leads to a file,
// and to a heading of it.
func TestLinks(t *testing.T) {
	found, headings := 0, map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		plain := inline.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), "")
		for _, m := range link.FindAllStringSubmatch(plain, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			name, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if name != "" {
				target = filepath.Join(filepath.Dir(path), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			} else if anchor != "" && !hasHeading(t, headings, target, anchor) {
				t.Errorf("%s links to %s: no such heading", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("there are no links")
	}
}

// hasHeading reports whether a file has a heading with this anchor, as GitHub
// makes them. It reads each file once.
func hasHeading(t *testing.T, headings map[string][]string, path, anchor string) bool {
	t.Helper()
	if _, found := headings[path]; !found {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		headings[path] = []string{}
		for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			slug := strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
			headings[path] = append(headings[path], slug)
		}
	}
	return slices.Contains(headings[path], anchor)
}
