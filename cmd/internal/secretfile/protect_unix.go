//go:build unix

package secretfile

import "os"

// Protect makes a file private to its owner, if it is a regular file of this user
// and empty: a shell has just made it. It returns an error if the file exposes what
// is written to it.
func Protect(f *os.File) *ExposedError {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if info.Size() == 0 && ownerOf(info) == os.Geteuid() && info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err == nil {
			return openedBefore(f)
		}
	}
	path := pathOf(f)
	exposed, _ := Rules{}.Check(path, f).(*ExposedError)
	return exposed
}

// openedBefore returns an error if a process has opened a file before it became
// private: such a process can still read what is written.
func openedBefore(f *os.File) *ExposedError {
	if !openElsewhere(f) {
		return nil
	}
	return &ExposedError{
		Path: pathOf(f), text: "another process has opened this file, and may read the secrets in it",
		hint: "replace the secrets, and write them with --out, or into a directory that is closed to others",
	}
}
