package client

import "golang.org/x/sys/unix"

// keepaliveTimes are the options with the times of keepalive.
var keepaliveTimes = [...]int{unix.TCP_KEEPALIVE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT}

// completeHandshake does nothing: the kernel completes each handshake.
func completeHandshake(int) {}
