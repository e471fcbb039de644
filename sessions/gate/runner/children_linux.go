package runner

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// family is the children of this process, which adopts the orphans among its
// descendants (PR_SET_CHILD_SUBREAPER, or as the first process of a namespace). The
// lock is held from finding a child to sending it a signal, and while a child is
// reaped: the number of a child cannot go to another process before it is reaped.
type family struct {
	sync.Mutex
	own map[int]bool // children that are no orphans: they are not signalled
}

// adopt makes this process adopt orphans.
func adopt() error {
	return os.NewSyscallError("PR_SET_CHILD_SUBREAPER", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// signal sends a signal to each child except its own ones, and to their process
// groups. The caller holds the lock.
func (f *family) signal(sig unix.Signal) error {
	pids, err := children()
	if err != nil {
		return err
	}
	self := unix.Getpgrp()
	for _, pid := range pids {
		if f.own[pid] {
			continue
		}
		// The group exists as long as the child is not reaped. The kernel signals all
		// its processes at once: none can make another one in time.
		if group, err := unix.Getpgid(pid); err == nil && group > 1 && group != self {
			unix.Kill(-group, sig)
		}
		unix.Kill(pid, sig)
	}
	return nil
}

// reapOrphans reaps children that have ended, except its own ones. It reports whether
// there was any orphan: this process may have adopted those of an orphan, until it is
// reaped. The caller holds the lock.
func (f *family) reapOrphans() (some bool, err error) {
	pids, err := children()
	if err != nil {
		return false, err
	}
	for _, pid := range pids {
		if !f.own[pid] {
			some = true
			unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		}
	}
	return some, nil
}

// children returns the numbers of this process's children.
func children() (pids []int, err error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	if len(lists) == 0 {
		return childrenByParent(os.Getpid())
	}
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return nil, err
		}
		for _, field := range bytes.Fields(text) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// childrenByParent is for kernels without lists of children (CONFIG_PROC_CHILDREN). It
// does not see processes that hidepid= hides.
func childrenByParent(parent int) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// 12 (name) S 1 …: the name may have any characters.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) > 1 && slices.Equal(fields[1], []byte(strconv.Itoa(parent))) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
