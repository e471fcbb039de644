package client

import "syscall"

// shareAddress lets sockets of this user share a local port, to different ports of the
// server.
func shareAddress(fd int) { syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEPORT, 1) }
