//go:build !linux

package clock

// Synchronisation knows nothing on other systems than Linux.
func Synchronisation() Sync { return Sync{} }
