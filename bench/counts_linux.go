package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"sallyport/bench/netns"
)

// counts are what the host of the server has counted.
type counts struct {
	arrived uint64 // datagrams, off the link
	offered uint64 // and those that found its queue full
	closed  uint64 // UDP datagrams to ports that are closed
	full    uint64 // UDP datagrams that found a socket's buffer full
	ours    uint64 // frames that the host sent
}

func (w *world) count() (c counts, err error) {
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
	// XDP's frames that found it full are counted at both ends, others only
	// where they came from.
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

// snmpValue reads a value from /proc/net/snmp: a line of names, then one of
// values.
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
	return 0, fmt.Errorf("read the host's counters: no %s of %s", name, protocol)
}

func (c counts) minus(d counts) counts {
	return counts{c.arrived - d.arrived, c.offered - d.offered, c.closed - d.closed, c.full - d.full, c.ours - d.ours}
}
