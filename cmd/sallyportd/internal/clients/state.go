package clients

import (
	"os"
	"syscall"
	"time"
)

// State is the state of a file. It changes with the content, the owner and the mode
// of the file.
type State struct {
	mode     os.FileMode
	exists   bool
	size     int64
	modified time.Time
	changed  syscall.Timespec // ctime, which no program can set
	inode    uint64
	uid, gid uint32
}

// StateOf returns the state of a file; zero: the file does not exist.
func StateOf(path string) (s State) {
	info, err := os.Stat(path)
	if err != nil {
		return s
	}
	s = State{exists: true, mode: info.Mode(), size: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.changed, s.inode, s.uid, s.gid = sys.Ctim, sys.Ino, sys.Uid, sys.Gid
	}
	return s
}
