package client

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestErrorNumbers: what builds for Windows compares no error with a constant such as
// syscall.ECONNRESET, which Windows never returns: package syserror has its numbers.
func TestErrorNumbers(t *testing.T) {
	t.Parallel()
	number := regexp.MustCompile("^E[A-Z0-9]+$")
	windows := build.Default
	windows.GOOS, windows.GOARCH, windows.CgoEnabled = "windows", "amd64", false
	files := 0
	check := func(path string) error {
		if ok, err := windows.MatchFile(filepath.Split(path)); !ok || err != nil {
			return err
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		files++
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if of, ok := s.X.(*ast.Ident); ok && of.Name == "syscall" && number.MatchString(s.Sel.Name) {
				t.Errorf("%s: syscall.%s does not exist on Windows: use package syserror", set.Position(s.Pos()), s.Sel.Name)
			}
			return true
		})
		return nil
	}
	for _, root := range []string{".", "../../cmd/sallyport", "../../cmd/internal"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
				err = check(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}
