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
}

// filter is the prefix of the counters whose sum is "kernel".
const filter = "socket_filter_"

// Differences returns which counters of a server do not add up; empty: all do.
// Each datagram that arrived was for a closed port, or was not queued by the
// kernel (refused by its filter, or at a full queue), or was received. Each
// received one was dropped, or has one reason. Each authentic knock had one
// outcome.
func Differences(counters map[string]uint64, arrived, closed uint64) string {
	var different []string
	compare := func(what string, whole, parts uint64) {
		if whole != parts {
			different = append(different, fmt.Sprintf("%s: %d, of which %d are accounted for", what, whole, parts))
		}
	}
	compare("arrived", arrived, closed+counters["kernel"]+counters["received"])
	compare("kernel", counters["kernel"], counters[filter+"refused"]+counters[filter+"full"]+counters[filter+"either"])
	reasons, outcomes := counters["overrun"], uint64(0)
	for name, n := range counters {
		switch {
		case otherCounters[name], strings.HasPrefix(name, filter):
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
