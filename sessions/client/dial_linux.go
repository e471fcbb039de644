package client

import "golang.org/x/sys/unix"

// keepaliveTimes are the options with the times of keepalive.
var keepaliveTimes = [...]int{unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT}

// completeHandshake makes the kernel send the answer to the SYN-ACK that halfOpen
// delays. The connection is an ordinary one from then on.
func completeHandshake(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}
