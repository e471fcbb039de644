package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/scanner"
	"go/token"
	"os"
	"regexp"
	"strings"

	"golang.org/x/tools/go/ssa"
)

// lines are the lines of code of some functions: those with more than a comment.
// A line counts once, also if it belongs to two functions, one inside the other.
type lines struct {
	code map[string]map[int]bool // the lines with code of each file that was read
	in   map[string]map[int]bool // those of the functions
}

func newLines() *lines {
	return &lines{code: map[string]map[int]bool{}, in: map[string]map[int]bool{}}
}

// add adds the lines of a function, and returns how many the function has.
func (l *lines) add(g *graph, f *ssa.Function) (n int, err error) {
	if o := f.Origin(); o != nil {
		f = o
	}
	switch syntax := f.Syntax().(type) {
	case *ast.FuncLit:
		return l.span(g.prog.Fset, syntax)
	case *ast.FuncDecl:
		if syntax.Body != nil {
			return l.span(g.prog.Fset, syntax)
		}
		return l.assembly(g.other[packagePath(f)], f.Name())
	}
	return 0, nil // a wrapper, which the compiler makes
}

func (l *lines) span(fset *token.FileSet, node ast.Node) (n int, err error) {
	from, to := fset.Position(node.Pos()), fset.Position(node.End())
	if d, ok := node.(*ast.FuncDecl); ok {
		from = fset.Position(d.Type.Pos()) // without the comment
	}
	if l.code[from.Filename] == nil {
		if err := l.scan(from.Filename); err != nil {
			return 0, err
		}
	}
	for line := from.Line; line <= to.Line; line++ {
		if l.code[from.Filename][line] {
			l.in[from.Filename][line] = true
			n++
		}
	}
	return n, nil
}

// scan finds the lines with code in a Go file.
func (l *lines) scan(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("count lines: %w", err)
	}
	code := map[int]bool{}
	file := token.NewFileSet().AddFile(name, -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue
		}
		first := file.Line(pos)
		for i := range 1 + strings.Count(literal, "\n") {
			code[first+i] = true
		}
	}
	l.code[name], l.in[name] = code, map[int]bool{}
	return nil
}

var assemblyComment = regexp.MustCompile(`^\s*(//.*)?$`)

// assembly counts the lines of a function without a body in Go.
func (l *lines) assembly(files []string, function string) (n int, err error) {
	for _, name := range files {
		if !strings.HasSuffix(name, ".s") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, fmt.Errorf("count lines: %w", err)
		}
		inside, number := false, 0
		for line := range bytes.Lines(text) {
			number++
			if bytes.HasPrefix(line, []byte("TEXT ")) {
				inside = bytes.Contains(line, []byte("·"+function+"("))
			}
			if inside && !assemblyComment.Match(bytes.TrimSpace(line)) {
				if l.in[name] == nil {
					l.in[name] = map[int]bool{}
				}
				l.in[name][number] = true
				n++
			}
		}
	}
	return n, nil
}

func (l *lines) total() (n int) {
	for _, in := range l.in {
		n += len(in)
	}
	return n
}
