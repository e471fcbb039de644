// Package clock gives measurements access to the kernel's clocks, and binds
// threads to cores. Linux only.
package clock

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic returns the kernel's monotonic clock in nanoseconds. BPF programs use
// the same clock.
func Monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return t.Nano()
}

// Offset returns the difference of Unix time and the monotonic clock, in
// nanoseconds. It is valid until the clock is set.
func Offset() int64 {
	before := Monotonic()
	now := time.Now().UnixNano()
	return now - (before+Monotonic())/2
}

// Pin binds the thread to one core until unpin. The goroutine must be locked to
// the thread. Processes and threads that it starts inherit the core.
func Pin(core int) (unpin func(), err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read the cores of the thread: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	if err := PinThread(0, core); err != nil {
		return nil, err
	}
	return func() { unix.SchedSetaffinity(0, &before) }, nil
}

// PinThread binds any thread to one core; 0 is the calling thread.
func PinThread(thread, core int) error {
	var only unix.CPUSet
	only.Set(core)
	if err := unix.SchedSetaffinity(thread, &only); err != nil {
		return fmt.Errorf("bind a thread to core %d: %w", core, os.NewSyscallError("sched_setaffinity", err))
	}
	return nil
}

// OnCore runs f on a thread that is bound to one core.
func OnCore(core int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unpin, err := Pin(core)
	if err != nil {
		return err
	}
	defer unpin()
	return f()
}

// Cores returns the cores that this process may use.
func Cores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read the cores of the process: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	var cores []int
	for i := range 1024 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

// Avoid binds all threads of this process to the cores other than one. If there are no
// others, it changes nothing.
func Avoid(core int) error {
	cores, err := Cores()
	if err != nil {
		return err
	}
	var others unix.CPUSet
	for _, c := range cores {
		if c != core {
			others.Set(c)
		}
	}
	if others.Count() == 0 {
		return nil
	}
	// A new thread inherits the cores of the one that starts it. So a pass that finds no
	// new thread is the last.
	done := map[string]bool{}
	for fresh := true; fresh; {
		fresh = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list the threads of this process: %w", err)
		}
		for _, t := range threads {
			if done[t.Name()] {
				continue
			}
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return fmt.Errorf("list the threads of this process: %w", err)
			}
			if err := unix.SchedSetaffinity(id, &others); err != nil && err != unix.ESRCH {
				return fmt.Errorf("bind a thread to cores: %w", os.NewSyscallError("sched_setaffinity", err))
			}
			done[t.Name()], fresh = true, true
		}
	}
	return nil
}
