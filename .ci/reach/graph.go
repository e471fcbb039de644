package main

import (
	"cmp"
	"fmt"
	"go/token"
	"go/types"
	"os"
	"slices"
	"strings"

	"golang.org/x/tools/go/callgraph"
	"golang.org/x/tools/go/callgraph/cha"
	"golang.org/x/tools/go/callgraph/vta"
	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/go/ssa"
	"golang.org/x/tools/go/ssa/ssautil"
)

// graph is a program with its calls. A call by an interface, or by a function in a
// variable, leads to all functions that can be there (variable type analysis).
type graph struct {
	plan   plan
	prog   *ssa.Program
	all    map[*ssa.Function]bool // that the program can call
	calls  *callgraph.Graph
	byName map[string]*ssa.Function
	mods   map[string]string // the module of each package path; "": the standard library
	other  map[string][]string
}

// load builds the graph for Linux on amd64, so that each machine counts the same.
func load(dir string, p plan) (*graph, error) {
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.LoadAllSyntax | packages.NeedModule,
		Dir:  dir,
		Env:  append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"),
	}, p.program)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", p.program, err)
	}
	g := &graph{plan: p, byName: map[string]*ssa.Function{}, mods: map[string]string{}, other: map[string][]string{}}
	var bad error
	packages.Visit(loaded, nil, func(pkg *packages.Package) {
		if pkg.Module != nil {
			g.mods[pkg.PkgPath] = pkg.Module.Path
		}
		g.other[pkg.PkgPath] = pkg.OtherFiles
		for _, e := range pkg.Errors {
			bad = cmp.Or(bad, error(e))
		}
	})
	if bad != nil {
		return nil, fmt.Errorf("load %s: %w", p.program, bad)
	}
	prog, roots := ssautil.AllPackages(loaded, ssa.InstantiateGenerics)
	prog.Build()
	all := ssautil.AllFunctions(prog)
	g.prog, g.calls = prog, vta.CallGraph(all, cha.CallGraph(prog))
	// Again without the functions that the program never calls: they would add
	// types that no variable has.
	g.all = g.everything(roots[0].Func("init"), roots[0].Func("main"))
	g.calls = vta.CallGraph(g.all, g.calls)
	for f := range g.all {
		if g.ours(f) {
			g.byName[f.String()] = f
		}
	}
	return g, nil
}

// everything returns all functions that a program with these begins can call.
func (g *graph) everything(stack ...*ssa.Function) map[*ssa.Function]bool {
	seen := map[*ssa.Function]bool{}
	for len(stack) > 0 {
		f := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !seen[f] {
			seen[f] = true
			stack = append(stack, g.callees(f)...)
		}
	}
	return seen
}

// packagePath returns the path of a function's package. A wrapper and an instance
// of a generic function have that of their origin.
func packagePath(f *ssa.Function) string {
	if o := f.Origin(); o != nil {
		f = o
	}
	switch {
	case f.Pkg != nil:
		return f.Pkg.Pkg.Path()
	case f.Object() != nil && f.Object().Pkg() != nil:
		return f.Object().Pkg().Path()
	case f.Parent() != nil:
		return packagePath(f.Parent())
	}
	return ""
}

func (g *graph) ours(f *ssa.Function) bool {
	path := packagePath(f)
	return path == g.plan.module || strings.HasPrefix(path, g.plan.module+"/")
}

// callees returns the functions that a function calls, refers to or contains, in
// the order of the source. Without calls by reflection.
func (g *graph) callees(f *ssa.Function) (list []*ssa.Function) {
	type call struct {
		at token.Pos
		to *ssa.Function
	}
	var all []call
	if n := g.calls.Nodes[f]; n != nil {
		for _, e := range n.Out {
			all = append(all, call{e.Pos(), e.Callee.Func})
		}
	}
	for _, b := range f.Blocks {
		for _, in := range b.Instrs {
			for _, v := range in.Operands(nil) {
				if v == nil {
					continue
				}
				if to, ok := (*v).(*ssa.Function); ok {
					all = append(all, call{in.Pos(), to})
				}
			}
		}
	}
	for _, inner := range f.AnonFuncs {
		all = append(all, call{inner.Pos(), inner})
	}
	slices.SortFunc(all, func(a, b call) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.to.Pos(), b.to.Pos()), cmp.Compare(a.to.String(), b.to.String()))
	})
	for _, c := range all {
		if !slices.Contains(list, c.to) {
			list = append(list, c.to)
		}
	}
	return list
}

// isAuthentic reports whether a function has a parameter of a type that only an
// authentication makes.
func (g *graph) isAuthentic(f *ssa.Function) bool {
	for _, p := range f.Params {
		t := p.Type()
		if pointer, ok := t.(*types.Pointer); ok {
			t = pointer.Elem()
		}
		if slices.Contains(g.plan.authentic, types.TypeString(t, nil)) {
			return true
		}
	}
	return false
}
