package bench

import (
	"fmt"
	"os"
	"strconv"
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

// ticks is the time of a core: in total, and taken by other machines (steal).
type ticks struct{ total, stolen uint64 }

// coreTicks reads the time of a core since the machine was started.
func coreTicks(core int) (t ticks, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, fmt.Errorf("read the times of the cores: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != "cpu"+strconv.Itoa(core) {
			continue
		}
		for i, f := range fields[1:9] { // user to steal; user includes the time of guests
			v, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return t, fmt.Errorf("read the times of the cores: %w", err)
			}
			t.total += v
			if i == 7 {
				t.stolen = v
			}
		}
		return t, nil
	}
	return t, fmt.Errorf("read the times of the cores: /proc/stat has no core %d", core)
}

// stolenShare returns the share of the time since then that other machines took.
func (t ticks) stolenShare(since ticks) float64 {
	if t.total == since.total {
		return 0
	}
	return float64(t.stolen-since.stolen) / float64(t.total-since.total)
}
