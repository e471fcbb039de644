//go:build !linux

package gate

// Bindable is not asked where the server does not run.
func Bindable(network, address string) error { return nil }
