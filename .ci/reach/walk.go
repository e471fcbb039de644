package main

import (
	"fmt"
	"go/types"
	"maps"
	"slices"
	"strings"

	"golang.org/x/tools/go/ssa"
)

// reached is a function that a packet can reach, and its distance from the root.
type reached struct {
	*ssa.Function
	depth int
}

// walk returns the functions that the packets of a route can reach, in the order
// in which they do: those of the module, and those of other modules that they
// call, with the calls inside the same module. A function of the module that
// another module calls back belongs to the route if a function of the route refers
// to it, or converts a value of its type to an interface.
func (g *graph) walk(r route, used map[string]bool) (order []reached, errs []error) {
	seen := map[*ssa.Function]bool{}
	var visit func(f *ssa.Function, depth int)
	visit = func(f *ssa.Function, depth int) {
		if seen[f] || g.isAuthentic(f) || g.isAfter(f, used) {
			return
		}
		seen[f] = true
		order = append(order, reached{f, depth})
		for _, to := range g.callees(f) {
			if g.ours(f) || g.mods[packagePath(f)] != "" && g.mods[packagePath(to)] == g.mods[packagePath(f)] {
				visit(to, depth+1)
			}
		}
		if !g.ours(f) {
			return
		}
		for _, to := range g.callbacks(f) {
			visit(to, depth+1)
		}
	}
	for _, name := range r.roots {
		f := g.byName[name]
		if f == nil {
			errs = append(errs, fmt.Errorf("the route %q: the program has no function %s", r.name, name))
			continue
		}
		visit(f, 0)
	}
	for _, name := range r.reaches {
		if f := g.byName[name]; f == nil || !seen[f] {
			errs = append(errs, fmt.Errorf("the route %q does not reach %s: if the function has another name now, or another caller, change plan.go", r.name, name))
		}
	}
	return order, errs
}

// callbacks returns the methods of the module that other modules can call on the
// values that a function converts to interfaces.
func (g *graph) callbacks(f *ssa.Function) (list []*ssa.Function) {
	for _, b := range f.Blocks {
		for _, in := range b.Instrs {
			conversion, ok := in.(*ssa.MakeInterface)
			if !ok {
				continue
			}
			methods := types.NewMethodSet(conversion.X.Type())
			for i := range methods.Len() {
				m := g.prog.MethodValue(methods.At(i))
				if m == nil || !g.ours(m) || g.calls.Nodes[m] == nil {
					continue
				}
				for _, e := range g.calls.Nodes[m].In {
					if !g.ours(e.Caller.Func) {
						list = append(list, m)
						break
					}
				}
			}
		}
	}
	return list
}

// isAfter reports whether a function runs after the authentication by plan.after.
func (g *graph) isAfter(f *ssa.Function, used map[string]bool) bool {
	is := slices.ContainsFunc(g.plan.after, func(r rule) bool { return r.is(f.String()) })
	if is {
		used[f.String()] = true
	}
	return is
}

// opens reports whether a function of another module opens a socket, or maps
// memory.
func opens(f *ssa.Function) bool {
	switch path := packagePath(f); path {
	case "net", "syscall", "golang.org/x/sys/unix", "net/http", "crypto/tls":
		for _, prefix := range []string{"Listen", "Socket", "Recv", "FileConn", "FileListener", "FilePacketConn", "Mmap"} {
			if strings.HasPrefix(f.Name(), prefix) {
				return true
			}
		}
		return false
	default:
		return strings.HasPrefix(path, "github.com/mdlayher/") && (f.Name() == "Listen" || f.Name() == "Dial")
	}
}

// checkOpeners compares the functions that open sockets with plan.openers.
func (g *graph) checkOpeners() (errs []error) {
	for _, r := range g.plan.elsewhere {
		if _, exists := g.mods[r.name]; !exists {
			errs = append(errs, fmt.Errorf("plan.go lists %s under elsewhere, but the program has no package %s", r.name, r.name))
		}
	}
	found := map[string]bool{}
	for f := range g.all {
		elsewhere := slices.ContainsFunc(g.plan.elsewhere, func(r rule) bool { return r.is(packagePath(f)) })
		if !g.ours(f) || elsewhere || f.Synthetic != "" && f.Origin() == nil && f.Parent() == nil {
			continue // the last are wrappers that the compiler makes
		}
		for _, to := range g.callees(f) {
			if opens(to) || slices.Contains(g.plan.wrappers, to.String()) {
				found[f.String()] = true
			}
		}
	}
	for _, r := range g.plan.openers {
		if !found[r.name] {
			errs = append(errs, fmt.Errorf("plan.go lists %s under openers, but it does not open or read a socket", r.name))
		}
		delete(found, r.name)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		errs = append(errs, fmt.Errorf("%s opens or reads a socket, or maps memory: add it to openers in plan.go, and a route if strangers can send there", name))
	}
	return errs
}
