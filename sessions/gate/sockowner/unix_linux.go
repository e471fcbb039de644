package sockowner

import (
	"cmp"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// UnixPeer returns the user and the process that had called listen(2) for the socket
// that a connection of this process was made to (SO_PEERCRED, unix(7)).
func UnixPeer(c *net.UnixConn) (uid uint32, pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if failed != nil || err != nil {
		return 0, 0, fmt.Errorf("find the user of %s: %w", c.RemoteAddr(), cmp.Or(failed, os.NewSyscallError("getsockopt", err)))
	}
	return peer.Uid, int(peer.Pid), nil
}
