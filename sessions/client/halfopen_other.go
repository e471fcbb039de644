//go:build !linux

package client

import "syscall"

// On other systems, the client makes whole connections.

const canHalfOpen = false

func halfOpen(int) {}

func halfOpenControl(string, string, syscall.RawConn) error { return nil }
