package admin

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSpecification: ADMIN.md and the package's documentation have each request of the code,
// and no other.
func TestSpecification(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	code := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	served := regexp.MustCompile(`"(GET|POST) /([a-z/]+)"`)
	asked := regexp.MustCompile(`http\.Method(Get|Post), (?:prefix ?\+ ?)?"/?([a-z/]+)"`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range slices.Concat(served.FindAllStringSubmatch(read(name), -1), asked.FindAllStringSubmatch(read(name), -1)) {
			code[strings.ToUpper(m[1])+" "+m[2]] = true
		}
	}
	if len(code) < 20 {
		t.Errorf("found %d requests: %v", len(code), slices.Sorted(maps.Keys(code)))
	}
	for name, row := range map[string]string{"ADMIN.md": "(?m)^\\| `(GET|POST) /v1/([a-z/]+)` \\|", "doc.go": `(?m)^//\t(GET|POST) +/([a-z/]+) `} {
		missing := maps.Clone(code)
		for _, m := range regexp.MustCompile(row).FindAllStringSubmatch(read(name), -1) {
			if request := m[1] + " " + m[2]; !code[request] {
				t.Errorf("%s has %s, which no code serves", name, request)
			} else {
				delete(missing, request)
			}
		}
		for request := range missing {
			t.Errorf("%s does not have %s", name, request)
		}
	}
}
