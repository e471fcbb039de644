package client

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/verify/wire"
)

// setISN makes a socket begin its connection with a sequence number (TCP_REPAIR in
// tcp(7), and include/uapi/linux/tcp.h). It must be called before the connect, and
// requires CAP_NET_ADMIN in the user namespace of the network. The kernel sends a
// lost SYN again with the same number. It uses another one if it assigns the source
// port of a connection that has just ended (TIME_WAIT): that attempt to connect
// fails, and the next one has another port.
func setISN(fd int, n wire.ISN) error {
	const noWindowProbe = -1 // TCP_REPAIR_OFF_NO_WP
	for _, option := range []struct{ name, value int }{
		{unix.TCP_REPAIR, 1}, {unix.TCP_REPAIR_QUEUE, tcpSendQueue},
		{unix.TCP_QUEUE_SEQ, int(int32(n))}, {unix.TCP_REPAIR, noWindowProbe},
	} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option.name, option.value); err != nil {
			return fmt.Errorf("set the initial sequence number: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}

const tcpSendQueue = 2 // TCP_SEND_QUEUE

// tryISN returns an error if setISN does not work.
func tryISN() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer syscall.Close(fd)
	return setISN(fd, 1)
}
