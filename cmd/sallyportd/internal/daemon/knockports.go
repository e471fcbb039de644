package daemon

import (
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/gate/helper"
)

// knockPorts returns what has the firewall let knocks in at the ports that are
// open, each until its time; nil without a holder. Where a service listens by
// UDP, strangers' datagrams do not come.
func knockPorts(taken []uint16, h *helper.Client, now func() time.Time) func(map[uint16]time.Time) error {
	if h == nil {
		return nil
	}
	known := map[uint16]time.Time{}
	return func(open map[uint16]time.Time) error {
		changed := map[time.Time][]uint16{} // by their ends, which are few
		for p, until := range open {
			if !known[p].Equal(until) && !slices.Contains(taken, p) {
				changed[until] = append(changed[until], p)
			}
		}
		for until, ports := range changed {
			left := until.Sub(now())
			if left < time.Millisecond {
				continue // they close in this instant
			}
			if err := h.OpenKnockPorts(ports, left); err != nil {
				return fmt.Errorf("tell the firewall of the ports: %w", err)
			}
		}
		known = open
		return nil
	}
}
