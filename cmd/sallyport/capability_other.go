//go:build !linux

package main

// dropNetAdmin does nothing: other systems do not have the capability.
func dropNetAdmin() {}
