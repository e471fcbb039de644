package report

import (
	"fmt"
	"strings"
)

// Since returns by how much counters have grown.
func Since(now, before map[string]uint64) map[string]uint64 {
	grown := make(map[string]uint64, len(now))
	for name, n := range now {
		grown[name] = n - before[name]
	}
	return grown
}

// Counters that say nothing of a datagram's fate.
var apart = map[string]bool{"kernel": true, "received": true, "overrun": true, "port_failures": true, "state_failures": true}

// filter is how the names of counters begin into which the kernel's is divided.
const filter = "socket_filter_"

// Differences says what of a server's counters does not add up; empty: all
// does. Of the datagrams that arrived, those not for a closed port were either
// dropped or refused by the kernel, by its filter or at a full queue, or received;
// of these each was dropped, or has one reason; and each authentic knock had one
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
		case apart[name], strings.HasPrefix(name, filter):
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
