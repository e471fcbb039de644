//go:build !linux

package syserror

import "testing"

// ownNetwork returns true: such systems have no network namespaces.
func ownNetwork(*testing.T) bool { return true }
