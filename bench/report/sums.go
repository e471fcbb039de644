package report

import (
	"fmt"
	"strings"
)

// Since returns the growth of each counter.
func Since(now, before map[string]uint64) map[string]uint64 {
	grown := make(map[string]uint64, len(now))
	for name, n := range now {
		grown[name] = n - before[name]
	}
	return grown
}

// Counters that are neither a reason nor an outcome.
var otherCounters = map[string]bool{
	"kernel": true, "received": true, "overrun": true, "port_failures": true, "state_failures": true,
	"log_dropped": true, "log_left_out": true, "program_output_dropped": true, // lines
}

// filter is the prefix of the counters whose sum is "kernel".
const filter = "socket_filter_"

// shield is the prefix of the counters of the shield. Each frame is in one of them.
const shield = "shield_"

// Counters of the shield for frames that it has not dropped.
var shieldPassed = map[string]bool{
	shield + "other": true, shield + "empty": true, shield + "flow": true, shield + "socket": true, shield + "ring": true,
}

// Differences returns which counters of a server do not add up; empty: all do.
// Each datagram that arrived was dropped by the shield, or was for a closed port, or
// was not queued by the kernel (refused by its filter, or at a full queue), or was
// received, from a ring of the shield too. Each frame is in one counter of the shield,
// if there is one. Each received datagram was dropped, or has one reason. Each
// authentic knock had one outcome.
func Differences(counters map[string]uint64, arrived, closed uint64) string {
	var different []string
	compare := func(what string, whole, parts uint64) {
		if whole != parts {
			different = append(different, fmt.Sprintf("%s: %d, of which %d are accounted for", what, whole, parts))
		}
	}
	refused, seen := shielded(counters)
	compare("arrived", arrived, refused+closed+counters["kernel"]+counters["received"])
	if seen > 0 {
		compare("arrived at the shield", arrived, seen)
	}
	compare("kernel", counters["kernel"], counters[filter+"refused"]+counters[filter+"full"]+counters[filter+"either"])
	reasons, outcomes := counters["overrun"], uint64(0)
	for name, n := range counters {
		switch {
		case otherCounters[name], strings.HasPrefix(name, filter), strings.HasPrefix(name, shield):
		case strings.HasPrefix(name, "session_"):
			outcomes += n
		default:
			reasons += n
		}
	}
	compare("received", counters["received"], reasons)
	compare("authentic", counters["authentic"], outcomes)
	return strings.Join(different, "; ")
}

// shielded returns how many frames the shield has dropped, and how many it has seen.
func shielded(counters map[string]uint64) (refused, seen uint64) {
	for name, n := range counters {
		if !strings.HasPrefix(name, shield) {
			continue
		}
		seen += n
		if !shieldPassed[name] {
			refused += n
		}
	}
	return refused, seen
}
