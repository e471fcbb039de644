package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// count is the result for one program.
type count struct {
	graph  *graph
	routes []counted
	total  counted // a function that two routes reach counts once
}

// counted is the result for one route.
type counted struct {
	route        route
	order        []reached
	ours, others int             // lines of the module, and of its dependencies
	packages     map[string]part // of all modules, and of the standard library
}

// part is what a route reaches of one package. Of the standard library only the
// functions that the module calls are known, without their lines.
type part struct{ functions, lines int }

// countProgram counts what the routes of a plan reach.
func countProgram(dir string, p plan) (*count, error) {
	g, err := load(dir, p)
	if err != nil {
		return nil, err
	}
	errs := g.checkOpeners()
	c := &count{graph: g}
	used := map[string]bool{}
	var all []reached
	for _, r := range p.routes {
		order, problems := g.walk(r, used)
		errs = append(errs, problems...)
		one, err := g.countAll(order)
		if err != nil {
			return nil, err
		}
		one.route = r
		c.routes = append(c.routes, one)
		all = append(all, order...)
	}
	for _, r := range p.after {
		if !used[r.name] {
			errs = append(errs, fmt.Errorf("plan.go lists %s under after, but no route reaches it", r.name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.total, err = g.countAll(all)
	return c, err
}

func (g *graph) countAll(order []reached) (c counted, err error) {
	c.order, c.packages = order, map[string]part{}
	ours, others, of := newLines(), newLines(), map[string]*lines{}
	seen := map[string]bool{}
	for _, f := range order {
		path := packagePath(f.Function)
		if f.Synthetic != "" && f.Origin() == nil || seen[f.String()] {
			continue
		}
		seen[f.String()] = true
		p := c.packages[path]
		p.functions++
		if of[path] == nil {
			of[path] = newLines()
		}
		sum := others
		switch {
		case g.ours(f.Function):
			sum = ours
		case g.mods[path] == "":
			c.packages[path] = p
			continue
		}
		for _, l := range []*lines{sum, of[path]} {
			if _, err := l.add(g, f.Function); err != nil {
				return c, err
			}
		}
		p.lines = of[path].total()
		c.packages[path] = p
	}
	c.ours, c.others = ours.total(), others.total()
	return c, nil
}

// sentence is what the README must state.
func (c *count) sentence() string {
	var parts []string
	for _, r := range c.routes {
		parts = append(parts, fmt.Sprintf("%s %s", thousands(r.ours), r.route.name))
	}
	return fmt.Sprintf("can reach %s lines of this project's code before it is authenticated (%s), and %s of its dependencies",
		thousands(c.total.ours), strings.Join(parts, ", "), thousands(c.total.others))
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// table prints the counts: the routes, then the packages.
func (c *count) table(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "lines\tof dependencies\t  a packet of a stranger")
	for _, r := range c.routes {
		fmt.Fprintf(w, "%d\t%d\t  %s: %s\n", r.ours, r.others, r.route.name, r.route.sentence)
	}
	fmt.Fprintf(w, "%d\t%d\t  all of these; functions that several reach count once\n\n", c.total.ours, c.total.others)
	fmt.Fprintln(w, "lines\tfunctions\t  package")
	paths := slices.SortedFunc(maps.Keys(c.total.packages), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.rank(a), c.rank(b)), cmp.Compare(a, b))
	})
	for _, path := range paths {
		p := c.total.packages[path]
		if c.rank(path) == 2 {
			fmt.Fprintf(w, "-\t%d\t  %s, called directly\n", p.functions, path)
			continue
		}
		fmt.Fprintf(w, "%d\t%d\t  %s\n", p.lines, p.functions, path)
	}
	w.Flush()
}

// rank sorts packages: the module, its dependencies, the standard library.
func (c *count) rank(path string) int {
	switch c.graph.mods[path] {
	case c.graph.plan.module:
		return 0
	case "":
		return 2
	}
	return 1
}

// list prints the functions of the module in the order in which a packet reaches
// them, each indented by its distance from the function that receives the packet.
func (c *count) list(out io.Writer, root string) {
	for _, r := range c.routes {
		fmt.Fprintf(out, "%s: %s\n", r.route.name, r.route.sentence)
		for _, f := range r.order {
			if !c.graph.ours(f.Function) || f.Synthetic != "" && f.Origin() == nil {
				continue
			}
			at := c.graph.prog.Fset.Position(f.Pos())
			name, err := filepath.Rel(root, at.Filename)
			if err != nil {
				name = at.Filename
			}
			fmt.Fprintf(out, "%s%s:%d %s\n", strings.Repeat("  ", f.depth+1), name, at.Line, f.RelString(nil))
		}
		fmt.Fprintln(out)
	}
}
