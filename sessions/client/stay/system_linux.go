package stay

import "time"

const (
	// halfOpen: the client watches by half-open connections.
	halfOpen = true
	// bootClock: clock.Boot continues while the host is suspended, and clock.Monotonic stops.
	bootClock = true
	// tick is how often Run looks at clocks and network without an event. The kernel
	// reports changes of both.
	tick = 30 * time.Second
)
