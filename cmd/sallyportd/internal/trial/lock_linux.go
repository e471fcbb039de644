package trial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockTime is how long a change of the record waits for another one, which takes
// milliseconds.
const lockTime = 2 * time.Second

// lock keeps other processes from changing the record: the holder begins trials, and the
// server confirms them. It locks the directory itself.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil // a change of the record fails, with the name of the file
	}
	if err != nil {
		return nil, fmt.Errorf("lock the record of trials: %w", err)
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(lockTime / 100) {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { d.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			d.Close()
			return nil, fmt.Errorf("lock the directory of the record of trials, %s: %w", dir, err)
		}
	}
}
