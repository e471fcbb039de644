// Package clock is the time and the processors, as measurements need them: the
// kernel's own clocks, and which core does what. Linux only.
package clock

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the kernel's monotonic clock in nanoseconds, by which BPF
// programs tell the time too.
func Monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return t.Nano()
}

// Offset is what has to be added to the monotonic clock to have Unix time, in
// nanoseconds. It holds until somebody sets the clock.
func Offset() int64 {
	before := Monotonic()
	now := time.Now().UnixNano()
	return now - (before+Monotonic())/2
}

// Pin keeps the thread, which the goroutine must be locked to, on one core
// until unpin. What the thread starts meanwhile begins there too.
func Pin(core int) (unpin func(), err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("ask for the thread's cores: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	if err := PinThread(0, core); err != nil {
		return nil, err
	}
	return func() { unix.SchedSetaffinity(0, &before) }, nil
}

// PinThread keeps any thread on one core; 0 is the calling one.
func PinThread(thread, core int) error {
	var only unix.CPUSet
	only.Set(core)
	if err := unix.SchedSetaffinity(thread, &only); err != nil {
		return fmt.Errorf("keep a thread on core %d: %w", core, os.NewSyscallError("sched_setaffinity", err))
	}
	return nil
}

// OnCore runs f on a thread that stays on one core.
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
		return nil, fmt.Errorf("ask for the cores: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	var cores []int
	for i := range 1024 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}
