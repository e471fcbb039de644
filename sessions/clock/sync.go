package clock

import "time"

// Sync is whether a time service keeps the wall clock right. The kernel knows how the
// clock is adjusted, and no name of a program.
type Sync struct {
	Known        bool // the kernel could be asked
	Synchronised bool
	By           string        // how, in words; empty: not known
	MaxError     time.Duration // the bound that the time service has set, which grows until it sets the next
}
