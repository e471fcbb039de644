//go:build !linux

package client

// On other systems, the client makes whole connections.

const canHalfOpen = false

func halfOpen(int) {}
