package daemon

import "runtime/debug"

// LowMemoryGC makes the garbage collector run more often, while a list of clients
// is read: a million clients would otherwise take twice the memory that they need.
// Done restores the usual rate, and returns free memory to the kernel.
func LowMemoryGC() (done func()) {
	usual := debug.SetGCPercent(20)
	return func() {
		debug.SetGCPercent(usual)
		debug.FreeOSMemory()
	}
}
