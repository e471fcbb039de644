package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files are the files that a process opens after Confine. Empty names are ignored.
type Files struct {
	Read    []string // files that it reads; another program may replace them
	Trees   []string // directories that it reads, with all that is in them
	Write   []string // directories in which it makes, changes and removes files
	Bind    []string // Unix sockets that it makes
	Connect []string // Unix sockets of other programs
}

// Allowed are the directories that stay, by what a process may do with all that is in
// them. In "/" only single files stay.
type Allowed struct {
	Read    []string `json:"read"`
	Write   []string `json:"write"`   // make, change and remove files
	Bind    []string `json:"bind"`    // make and remove sockets
	Connect []string `json:"connect"` // to sockets of other programs
}

// maxLinks bounds how many links are followed, as the kernel does.
const maxLinks = 40

// allowed returns what stays for files, as it is now on the disk.
func (f Files) allowed() (a Allowed) {
	for _, path := range f.Read {
		a.Read = append(a.Read, directories(path)...)
	}
	for _, path := range f.Trees {
		a.Read = append(a.Read, trees(path)...)
	}
	for _, path := range f.Write {
		if dir := existing(path); dir != "/" { // or the process could write everywhere
			a.Write = append(a.Write, dir)
		}
	}
	for _, path := range f.Bind {
		a.Bind = append(a.Bind, existing(parent(path)))
	}
	for _, path := range f.Connect {
		a.Connect = append(a.Connect, above(parent(path)))
	}
	for _, list := range []*[]string{&a.Read, &a.Write, &a.Bind, &a.Connect} {
		*list = slices.DeleteFunc(*list, func(path string) bool { return path == "" })
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return a
}

// directories returns the directories that lead to a file: its own, and those of the
// files to which a link leads, because each file can be replaced. Each directory is there,
// and its path has no link: if that of a link's file is not there yet, the one above it that is,
// but not "/".
func directories(path string) (list []string) {
	if path == "" {
		return nil
	}
	path = absolute(path)
	for links := range maxLinks {
		dir := real(filepath.Dir(path))
		switch {
		case dir == "/": // not all files
			list = append(list, real(path))
		case dir != "":
			list = append(list, dir)
		case links > 0: // to a directory that another program makes later, as that of resolv.conf
			if dir = existing(filepath.Dir(path)); dir != "/" && dir != "" {
				list = append(list, dir)
			}
		}
		to, err := os.Readlink(path)
		if err != nil {
			return list
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return list
}

// trees returns a directory, and if a link leads to it, also the directory above it: the
// link may lead to another one beside it later.
func trees(path string) []string {
	if path == "" {
		return nil
	}
	path = absolute(path)
	list := []string{real(path)}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 && filepath.Dir(list[0]) != "/" {
		list = append(list, parent(list[0]))
	}
	return list
}

// existing returns a directory, or if it is not there yet, the one above it that is.
func existing(path string) string {
	if path == "" {
		return ""
	}
	for path = absolute(path); ; path = filepath.Dir(path) {
		if dir := real(path); dir != "" || path == "/" {
			return dir
		}
	}
}

// above returns the directory above one with sockets, whose program may make it again when
// it starts; but not "/".
func above(path string) string {
	dir := existing(path)
	if dir == "" || filepath.Dir(dir) == "/" || dir != real(path) {
		return dir
	}
	return filepath.Dir(dir)
}

func parent(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Dir(absolute(path))
}

// real returns a path without links; empty: nothing is there, or this process cannot know.
func real(path string) string {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return path
}

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// within reports whether a path is one of a list, or below one.
func within(path string, list []string) bool {
	return slices.ContainsFunc(list, func(dir string) bool {
		return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
	})
}

// outside returns a directory that is needed and does not stay; empty: there is none.
// Connecting is restricted by newer kernels only.
func (a Allowed) outside(f Files, connecting bool) string {
	need := f.allowed()
	for _, path := range need.Read {
		if !within(path, slices.Concat(a.Read, a.Write)) {
			return path
		}
	}
	for _, path := range need.Connect {
		if connecting && !within(path, slices.Concat(a.Connect, a.Bind, a.Write)) {
			return path
		}
	}
	return ""
}
