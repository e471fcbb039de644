package trial

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the present moment.
func Now() (Moment, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var at unix.Timespec
	if err == nil {
		err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &at)
	}
	if err != nil {
		return Moment{}, fmt.Errorf("read the clock of the kernel: %w", err)
	}
	return Moment{strings.TrimSpace(string(boot)), time.Duration(at.Nano())}, nil
}
