//go:build !linux

package durable

import "os"

// target is the file to which a path leads. It is used with the rights of this
// process.
type target struct {
	path  string
	flags int

	othersCanReplace bool // false
}

func locate(path string) (*target, error) { return &target{path: path}, nil }

func (p *target) runAsUser(f func() error) error { return f() }

func (p *target) close() {}

func (p *target) openRootsFile() (*os.File, bool) { return nil, false }

func (p *target) chownLike(f *os.File, of os.FileInfo) { keepOwner(f, of) }

func locateName(path string) (*target, error) { return locate(path) }
