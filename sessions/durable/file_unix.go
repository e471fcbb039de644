//go:build unix

package durable

import (
	"os"
	"syscall"
)

// KeepOwner gives a file the owner of another, where that is possible.
func KeepOwner(path, of string) {
	info, err := os.Stat(of)
	if err != nil {
		return
	}
	if f, err := os.Open(path); err == nil {
		keepOwner(f, info)
		f.Close()
	}
}

// keepOwner gives a file the owner of another. Only root can; for others the
// owner is the same already, or the file could not be replaced anyway.
func keepOwner(f *os.File, of os.FileInfo) {
	if s, ok := of.Sys().(*syscall.Stat_t); ok {
		f.Chown(int(s.Uid), int(s.Gid))
	}
}

// syncDirectory makes a rename in a directory durable.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
