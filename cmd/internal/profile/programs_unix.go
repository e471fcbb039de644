//go:build unix

package profile

import (
	"fmt"
	"os"
	"syscall"

	"sallyport/cmd/internal/hint"
)

// onlyOurs returns an error unless only this user, or root, could have written an open
// file: it names programs that this process starts.
func onlyOurs(path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if uid := os.Geteuid(); !ok || int(s.Uid) != uid && s.Uid != 0 {
		return hint.With(fmt.Errorf("%s: expected a file of this user (%d), got one of another user: it names programs to run", path, uid),
			"run the command as the owner of the file; or remove it, and name the programs again: sallyport profile set --help")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return hint.With(fmt.Errorf("%s: expected mode 0600, got %04o: it names programs to run", path, mode),
			fmt.Sprintf("read the file, and if only you have changed it: chmod 600 '%s'", path))
	}
	return nil
}
