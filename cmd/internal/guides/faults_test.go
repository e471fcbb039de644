package guides

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// faultsHeading begins the table of faults in SECURITY.md, which the next heading ends.
const faultsHeading = "\n## When something fails\n"

var (
	quoted    = regexp.MustCompile("`([^`]+)`")
	tableName = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
)

// TestFaultsHaveTests: each fault in the table of SECURITY.md has an outcome, what the
// administrator sees, and tests that exist. Events and counters there are those that the
// server has.
func TestFaultsHaveTests(t *testing.T) {
	known := map[string]bool{"status": true}
	for _, file := range []string{"cmd/sallyportd/EVENTS.md", "cmd/sallyportd/README.md"} {
		for _, m := range tableName.FindAllStringSubmatch(read(t, file), -1) {
			known[m[1]] = true
		}
	}
	tests := map[string]map[string]bool{} // by package
	faults := map[string]bool{}
	for _, row := range faultRows(t) {
		fault, outcome, seen, named := row[0], row[1], row[2], quoted.FindAllStringSubmatch(row[3], -1)
		if strings.HasPrefix(fault, "**") {
			continue // a kind of faults
		}
		if faults[fault] || outcome == "" || seen == "" || len(named) == 0 {
			t.Errorf("%q: twice, or without an outcome, a sign or a test", fault)
		}
		faults[fault] = true
		for _, name := range quoted.FindAllStringSubmatch(seen, -1) {
			if !known[name[1]] {
				t.Errorf("%q: %q is no event and no counter", fault, name[1])
			}
		}
		for _, name := range named {
			dir, test := path.Split(name[1])
			base, test, ok := strings.Cut(test, ".")
			dir += base
			if tests[dir] == nil {
				tests[dir] = testsOf(t, dir)
			}
			if !ok || !tests[dir][test] {
				t.Errorf("%q: no test %s in %s", fault, test, dir)
			}
		}
	}
	if len(faults) < 31 {
		t.Errorf("%d faults, expected 31 at least", len(faults))
	}
}

// faultRows returns the cells of the table, without its head.
func faultRows(t *testing.T) (rows [][]string) {
	t.Helper()
	_, table, ok := strings.Cut(read(t, "SECURITY.md"), faultsHeading)
	if !ok {
		t.Fatal("SECURITY.md has no table of faults")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| fault |") {
			continue
		}
		cells = cells[1 : len(cells)-1]
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 4 {
			t.Fatalf("expected 4 cells in %q", line)
		}
		rows = append(rows, cells)
	}
	return rows
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testsOf returns the names of the tests of a package.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || len(f.Type.Params.List) != 1 {
				continue
			}
			if name := f.Name.Name; strings.HasPrefix(name, "Test") && name != "TestMain" {
				names[name] = true
			}
		}
	}
	return names
}
