package runner

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// baseEnvironment returns the variables that all programs have.
func baseEnvironment() []string {
	home, name := "/", strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(name); err == nil {
		home, name = u.HomeDir, u.Username
	}
	return []string{"PATH=" + searchPath, "HOME=" + home, "USER=" + name, "LOGNAME=" + name}
}

// markOf returns a mark as text, for a variable.
func markOf(b [markSize]byte) string { return hex.EncodeToString(b[:]) }

// endEarlier returns when no program of an earlier server of the instance is left. It
// first gives them the time that this runner gives its programs.
func (r *runner) endEarlier(mark string, lock *os.File) {
	began, wait := r.Clock.Monotonic(), time.Duration(0)
	for _, p := range r.Programs {
		wait = max(wait, p.StopAfter+killTime)
	}
	r.endLeftovers(mark, began, wait)
	if lock != nil {
		r.takeLock(lock, began, wait)
	}
}

// lockName is the file of an instance of which each runner locks a byte while it lives:
// that with the number of its user.
const lockName = "programs.lock"

// openLock opens the file to be locked; nil: that is not possible, as on a full disk.
// The runner then does not wait for an earlier one that it cannot see.
func openLock(instance string) *os.File {
	f, err := os.OpenFile(filepath.Join(instance, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil
	}
	return f
}

// takeLock waits until the runner of an earlier server has ended, which still stops its
// programs if its server was killed. In a namespace of processes, this one does not see
// them. If the wait is over, something keeps the earlier runner from ending, and takeLock
// returns all the same.
func (r *runner) takeLock(lock *os.File, began time.Time, wait time.Duration) {
	own := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(os.Getuid()), Len: 1}
	for pause, warned := minSweep, false; ; pause = min(2*pause, maxSweep) {
		// The lock belongs to the open file, which the server has opened for this runner.
		err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &own)
		if err != unix.EAGAIN && err != unix.EACCES {
			return // another error: the file system has no locks
		}
		if !warned {
			r.Log.Warn("programs of an earlier server still run; waiting")
			warned = true
		}
		if r.Clock.Monotonic().Sub(began) > wait {
			r.Log.Error("programs of an earlier server do not end; starting others")
			return
		}
		time.Sleep(pause)
	}
}

// endLeftovers returns when no process is left that has the mark in its environment:
// of a runner that was killed together with the supervisor of a run, or that still
// stops its programs. After a time, it kills them. In a new namespace, the runner
// finds none.
func (r *runner) endLeftovers(mark string, began time.Time, wait time.Duration) {
	for pause, warned := minSweep, false; ; pause = min(2*pause, maxSweep) {
		found := leftovers(mark)
		if len(found) == 0 {
			return
		}
		if !warned {
			r.Log.Warn("programs of an earlier server still run; waiting", "count", len(found))
			warned = true
		}
		kill := r.Clock.Monotonic().Sub(began) > wait
		for _, fd := range found {
			if kill {
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
		time.Sleep(pause)
	}
}

// leftovers returns pidfds of the processes of this user that have a mark.
func leftovers(mark string) (found []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	pair := []byte(instanceName + "=" + mark)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// The kernel lets this process read the environment of those only that it may
		// signal. If the process has ended, the other that has its number by now is
		// not the one of the pidfd.
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if !bytes.HasPrefix(env, pair) && !bytes.Contains(env, append([]byte{0}, pair...)) {
			unix.Close(fd)
			continue
		}
		found = append(found, fd)
	}
	return found
}
