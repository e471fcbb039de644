package daemon

import "runtime/debug"

// Sparingly has a list of clients be read with little memory, at the price of
// more time for the collector: a million of them would take twice the memory
// that they need. Done gives back what is left over.
func Sparingly() (done func()) {
	usual := debug.SetGCPercent(20)
	return func() {
		debug.SetGCPercent(usual)
		debug.FreeOSMemory()
	}
}
