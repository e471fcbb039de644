package clock

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Moment is a moment that the processes of one start of the kernel share.
type Moment struct {
	Boot  string        // identifies the kernel's start
	Since time.Duration // since then, suspensions included
}

// Now returns the present moment.
func Now() (Moment, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Moment{}, fmt.Errorf("identify the start of the kernel: %w", err)
	}
	return Moment{strings.TrimSpace(string(id)), boottime()}, nil
}
