//go:build !linux

package forward

// Inherited returns no sockets: only systemd passes them.
func Inherited() ([]Socket, error) { return nil, nil }
