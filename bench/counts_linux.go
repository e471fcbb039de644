package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"sallyport/bench/netns"
)

// counts are the counters of the server's host.
type counts struct {
	arrived uint64 // datagrams received from the link
	offered uint64 // arrived, and those that found the link's queue full
	closed  uint64 // UDP datagrams to closed ports
	full    uint64 // UDP datagrams that found a socket's buffer full
	ours    uint64 // frames that the host sent
}

func (w *network) count() (c counts, err error) {
	here, err := netns.Count(w.device)
	if err != nil {
		return c, err
	}
	var there netns.Counters
	if err := w.away.Do(func() (err error) {
		there, err = netns.Count(w.peer)
		return err
	}); err != nil {
		return c, err
	}
	// Frames of XDP that found the queue full are counted at both ends, others
	// only at the sender.
	c = counts{arrived: here.Received, offered: here.Received + max(here.Dropped, there.Unsent), ours: here.Sent}
	snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return c, fmt.Errorf("read the host's counters: %w", err)
	}
	if c.closed, err = snmpValue(string(snmp), "Udp", "NoPorts"); err != nil {
		return c, err
	}
	c.full, err = snmpValue(string(snmp), "Udp", "RcvbufErrors")
	return c, err
}

// snmpValue returns a value of /proc/net/snmp, which has a line of names, then a
// line of values.
func snmpValue(text, protocol, name string) (uint64, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name && i < len(fields) {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("read the host's counters: /proc/net/snmp has no %s %s", protocol, name)
}

func (c counts) minus(d counts) counts {
	return counts{c.arrived - d.arrived, c.offered - d.offered, c.closed - d.closed, c.full - d.full, c.ours - d.ours}
}
