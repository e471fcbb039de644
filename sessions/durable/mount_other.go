//go:build !linux

package durable

// isMountPoint returns false: the rename fails.
func isMountPoint(string) bool { return false }
