package main

import "runtime/debug"

// sparingly has a list of clients be read at the price of more time for the
// collector, since a million of them would else take twice the memory that
// they need; done gives back what is left over.
func sparingly() (done func()) {
	usual := debug.SetGCPercent(20)
	return func() {
		debug.SetGCPercent(usual)
		debug.FreeOSMemory()
	}
}
