package clock

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Ticks is the time of a core: in total, and taken by other machines (steal).
type Ticks struct{ total, stolen uint64 }

// CoreTicks reads the time of a core since the machine was started.
func CoreTicks(core int) (t Ticks, err error) {
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

// StolenShare returns the share of the time since then that other machines took.
func (t Ticks) StolenShare(since Ticks) float64 {
	if t.total == since.total {
		return 0
	}
	return float64(t.stolen-since.stolen) / float64(t.total-since.total)
}
