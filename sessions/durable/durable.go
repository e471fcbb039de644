// Package durable replaces files so that a crash at any moment leaves the old
// one or the new one, whole, and so that what was written stays written.
package durable

import (
	"os"
	"path/filepath"
)

// WriteFile puts a file with the given content and mode in the place of path.
// When it returns nil, the content is on stable storage. An error leaves path
// as it was, but for one of the very last step: then the new content is there,
// and may not survive a power failure. Writers of one path must exclude each
// other: the new file grows beside it under a fixed name, so that crashes
// leave one at the most.
func WriteFile(path string, content []byte, mode os.FileMode) (err error) {
	temporary := path + ".new"
	// What a crash has left may have another mode.
	if err := os.Remove(temporary); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return err
	}
	return syncDirectory(filepath.Dir(path))
}
