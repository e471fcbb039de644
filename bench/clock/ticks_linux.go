package clock

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Ticks is the time of a core: in total, in programs, and taken by other machines (steal).
type Ticks struct{ total, programs, stolen uint64 }

// tick is the unit of /proc/stat, whatever the kernel's own one is.
const tick = 10 * time.Millisecond

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
			switch i {
			case 0, 1, 2: // user, nice, system: not idle, nor in an interrupt
				t.programs += v
			case 7:
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

// TicksOf reads the times of several cores.
func TicksOf(cores []int) (all []Ticks, err error) {
	all = make([]Ticks, len(cores))
	for i, core := range cores {
		if all[i], err = CoreTicks(core); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// MostStolen returns the largest share of a core's time since then that other machines
// took. Both lists are of the same cores.
func MostStolen(since, now []Ticks) (share float64) {
	for i := range now {
		share = max(share, now[i].StolenShare(since[i]))
	}
	return share
}

// OthersShare returns the share of all cores' time since then that programs took whose
// processor time is not own.
func OthersShare(since, now []Ticks, own time.Duration) float64 {
	var total, programs time.Duration
	for i := range now {
		total += time.Duration(now[i].total-since[i].total) * tick
		programs += time.Duration(now[i].programs-since[i].programs) * tick
	}
	if total == 0 {
		return 0
	}
	return max(0, float64(programs-own)/float64(total))
}
