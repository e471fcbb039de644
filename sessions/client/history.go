package client

import (
	"cmp"
	"os"
	"time"
)

// writtenAt returns when this device wrote the file; zero: it has not.
func (f NonceFile) writtenAt() time.Time {
	info, err := os.Stat(f.Path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// hasOpened reports whether something has opened after nonces of the file. The file is of
// one secret.
func (f NonceFile) hasOpened() bool {
	r, err := f.read()
	return err == nil && r.opened > uint64(cmp.Or(f.First, f.Drawn))
}
