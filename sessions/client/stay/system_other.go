//go:build !linux

package stay

import "time"

const (
	// halfOpen: the client watches by half-open connections.
	halfOpen = false
	// bootClock: clock.Boot continues while the host is suspended, and clock.Monotonic stops.
	bootClock = false
	// tick is how often Run looks at clocks and network: no event reports their changes.
	tick = 3 * time.Second
)
