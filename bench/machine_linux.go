package bench

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/bench/clock"
	"sallyport/bench/report"
)

// machine describes this machine, without a name that identifies it.
func machine() (m report.Machine, err error) {
	cores, err := clock.Cores()
	if err != nil {
		return m, err
	}
	m.Cores = len(cores)
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, fmt.Errorf("read the kernel's version: %w", err)
	}
	m.Kernel = "Linux " + unix.ByteSliceToString(u.Release[:])
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, fmt.Errorf("read the processor's name: %w", err)
	}
	m.Processor = "unknown"
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.Processor = strings.TrimSpace(value)
			break
		}
	}
	return m, nil
}
