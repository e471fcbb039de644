//go:build !linux

package screen

import (
	"net"
	"syscall"
)

// Attach lets everybody through where there is no such filter.
func Attach(syscall.RawConn, Set) (fits bool, err error) { return false, nil }

// Closed does nothing where there is no such filter.
func Closed(_, _ string, _ syscall.RawConn) error { return nil }

// Release does nothing where there is no such filter.
func Release(*net.TCPConn) error { return nil }

// Allowed reports that there is no such filter.
func Allowed() bool { return false }
