package mobile

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// The rules are those of https://pkg.go.dev/golang.org/x/mobile/cmd/gobind, "Type
// restrictions". gobind leaves out what it cannot bind, and reports no error.

// unbindable returns the exported parts of a package that gomobile would leave out.
func unbindable(p *types.Package) (faults []string) {
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		switch o := o.(type) {
		case *types.Const, *types.Var:
			faults = append(faults, unbindableType(p, name, o.Type())...)
		case *types.Func:
			faults = append(faults, unbindableFunc(p, name, o.Signature())...)
			faults = append(faults, badConstructor(p, name, o.Signature())...)
		case *types.TypeName:
			faults = append(faults, unbindableNamed(p, name, o)...)
		}
	}
	return faults
}

func unbindableNamed(p *types.Package, name string, o *types.TypeName) (faults []string) {
	named, ok := o.Type().(*types.Named)
	if !ok || o.IsAlias() || named.TypeParams().Len() > 0 {
		return []string{name + ": an alias or a generic type"}
	}
	switch t := named.Underlying().(type) {
	case *types.Interface:
		if t.NumEmbeddeds() > 0 {
			faults = append(faults, name+": an embedded interface")
		}
		for m := range t.ExplicitMethods() {
			faults = append(faults, unbindableFunc(p, name+"."+m.Name(), m.Signature())...)
			if !m.Exported() {
				faults = append(faults, name+"."+m.Name()+": no app can implement the method")
			}
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Embedded() {
				faults = append(faults, name+"."+f.Name()+": an embedded field")
			} else if f.Exported() {
				faults = append(faults, unbindableType(p, name+"."+f.Name(), f.Type())...)
			}
		}
	default:
		return []string{name + ": neither a struct nor an interface"}
	}
	for m := range named.Methods() {
		if m.Exported() {
			faults = append(faults, unbindableFunc(p, name+"."+m.Name(), m.Signature())...)
		}
	}
	return faults
}

func unbindableFunc(p *types.Package, name string, s *types.Signature) (faults []string) {
	if s.Variadic() || s.TypeParams().Len() > 0 {
		faults = append(faults, name+": a variadic or generic function")
	} else {
		for v := range s.Params().Variables() {
			faults = append(faults, unbindableType(p, name+", parameter "+v.Name(), v.Type())...)
		}
	}
	for v := range s.Results().Variables() {
		faults = append(faults, unbindableType(p, name+", result "+v.Name(), v.Type())...)
	}
	if n := s.Results().Len(); n > 2 || n == 2 && !isError(s.Results().At(1).Type()) {
		faults = append(faults, name+": expected at most one result, and an error")
	}
	return faults
}

// badConstructor: a function NewX becomes a constructor only if it returns *X.
func badConstructor(p *types.Package, name string, s *types.Signature) []string {
	of, ok := strings.CutPrefix(name, "New")
	if !ok || s.Results().Len() > 0 && types.TypeString(s.Results().At(0).Type(), types.RelativeTo(p)) == "*"+of {
		return nil
	}
	return []string{name + ": expected *" + of + " as the first result"}
}

func unbindableType(p *types.Package, what string, t types.Type) []string {
	fault := []string{what + ": " + types.TypeString(t, types.RelativeTo(p))}
	switch t := types.Unalias(t).(type) {
	case *types.Basic:
		switch t.Kind() {
		case types.Bool, types.Int, types.Int32, types.Int64, types.Float64, types.String,
			types.UntypedBool, types.UntypedInt, types.UntypedFloat, types.UntypedString:
			return nil
		}
	case *types.Slice:
		if b, ok := types.Unalias(t.Elem()).(*types.Basic); ok && b.Kind() == types.Uint8 {
			return nil
		}
	case *types.Pointer:
		if n, ok := types.Unalias(t.Elem()).(*types.Named); ok && n.Obj().Pkg() == p && n.Obj().Exported() {
			if _, ok := n.Underlying().(*types.Struct); ok {
				return nil
			}
		}
	case *types.Named:
		if _, ok := t.Underlying().(*types.Interface); ok && (isError(t) || t.Obj().Pkg() == p && t.Obj().Exported()) {
			return nil
		}
	}
	return fault
}

func isError(t types.Type) bool { return types.Identical(t, types.Universe.Lookup("error").Type()) }

// exported returns the files with the export data of the packages below this one.
var exported = sync.OnceValues(func() (map[string]string, error) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return files, err
})

// checkTypes returns a package with the types of its files.
func checkTypes(t *testing.T, fset *token.FileSet, files []*ast.File) *types.Package {
	t.Helper()
	exports, err := exported()
	if err != nil {
		t.Fatal(err)
	}
	cfg := types.Config{IgnoreFuncBodies: true, Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	})}
	p, err := cfg.Check("sallyport/sessions/client/mobile", fset, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBindable: gomobile binds the whole API.
func TestBindable(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{range .GoFiles}}{{.}} {{end}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range strings.Fields(string(out)) {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p := checkTypes(t, fset, files)
	for _, fault := range unbindable(p) {
		t.Error(fault)
	}
	for _, name := range []string{"Profile", "NewProfile", "Knocker", "NewKnocker", "Listener", "Step", "Result"} {
		if p.Scope().Lookup(name) == nil {
			t.Errorf("the API lacks %s", name)
		}
	}
}

// TestUnbindable: each part is one that gomobile leaves out, except for the good ones.
func TestUnbindable(t *testing.T) {
	for source, want := range map[string]string{
		"const A = 1; const B string = `b`; var C int64":                          "",
		"func F(a string, b int, c bool, d []byte, e float64) (int64, error)":     "",
		"type T struct { A int; b map[string]int }; func NewT() (*T, error)":      "",
		"type L interface { M(s *S) string }; type S struct{}; func F(l L) error": "",
		"type S struct{}; func (s *S) m(d time.Duration) {}; func f(...int) {}":   "",
		"var A time.Time":                                "A: time.Time",
		"const A = time.Second":                          "A: time.Duration",
		"const A uint16 = 1":                             "A: uint16",
		"func F(a []string)":                             "F, parameter a: []string",
		"func F(a map[string]string)":                    "F, parameter a: map[string]string",
		"func F(a chan int)":                             "F, parameter a: chan int",
		"func F(a [4]byte)":                              "F, parameter a: [4]byte",
		"func F(a func())":                               "F, parameter a: func()",
		"func F(a any)":                                  "F, parameter a: any",
		"func F(ctx context.Context)":                    "F, parameter ctx: context.Context",
		"func F(a *time.Time)":                           "F, parameter a: *time.Time",
		"func F(a ...string)":                            "F: a variadic or generic function",
		"func F[T any]() {}":                             "F: a variadic or generic function",
		"func F() (a uint64)":                            "F, result a: uint64",
		"func F() (a, b int)":                            "F: expected at most one result, and an error",
		"type S struct{}; func F(a S)":                   "F, parameter a: S",
		"type s struct{}; func F(a *s)":                  "F, parameter a: *s",
		"type N string":                                  "N: neither a struct nor an interface",
		"type N = time.Time":                             "N: an alias or a generic type",
		"type G[T any] struct{}":                         "G: an alias or a generic type",
		"type S struct{ A time.Duration }":               "S.A: time.Duration",
		"type S struct{ error }":                         "S.error: an embedded field",
		"type S struct{}; func (s *S) M() (t time.Time)": "S.M, result t: time.Time",
		"type S struct{}; func (s S) M(t time.Time)":     "S.M, parameter t: time.Time",
		"type L interface { M(a []int) }":                "L.M, parameter a: []int",
		"type L interface { m() }":                       "L.m: no app can implement the method",
		"type L interface { error }":                     "L: an embedded interface",
		"type S struct{}; func NewT() (*S, error)":       "NewT: expected *T as the first result",
		"type S struct{}; func NewS() error":             "NewS: expected *S as the first result",
	} {
		fset := token.NewFileSet()
		text := "package p\nimport (\"context\"; \"time\")\nvar _ context.Context; var _ time.Time\n" + source
		f, err := parser.ParseFile(fset, "p.go", text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if got := strings.Join(unbindable(checkTypes(t, fset, []*ast.File{f})), "; "); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", source, got, want)
		}
	}
}
