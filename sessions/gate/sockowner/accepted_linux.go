package sockowner

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	unixRequestSize = unix.SizeofNlMsghdr + 24 // unix_diag_req
	unixMessageSize = 16                       // unix_diag_msg
	showPeer        = 4                        // UDIAG_SHOW_PEER
	peerAttribute   = 2                        // UNIX_DIAG_PEER
)

// UnixAccepted reports whether the program at the other end of a Unix stream
// connection of this process has accepted it. Until then, only the kernel has
// answered. It is false also after the other end was closed. The error is ErrNone if
// the kernel cannot report that.
func UnixAccepted(c *net.UnixConn) (accepted bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var stat unix.Stat_t
	failed := raw.Control(func(fd uintptr) { err = os.NewSyscallError("fstat", unix.Fstat(int(fd), &stat)) })
	if err = cmp.Or(failed, err); err == nil {
		err = withKernel(func(k kernel) error {
			accepted, err = k.unixAccepted(uint32(stat.Ino))
			return err
		})
	}
	if err != nil {
		return false, fmt.Errorf("find whether %s has accepted a connection: %w", c.RemoteAddr(), err)
	}
	return accepted, nil
}

// unixAccepted looks up the socket of a connection: the other end has an inode when
// accept(2) has made it a socket of a program.
func (k kernel) unixAccepted(inode uint32) (bool, error) {
	native := binary.NativeEndian
	b := native.AppendUint32(nil, unixRequestSize)
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...)    // sequence number and port
	b = append(b, unix.AF_UNIX, 0, 0, 0) // no protocol
	b = native.AppendUint32(b, 1<<32-1)  // all states
	b = native.AppendUint32(b, inode)
	b = native.AppendUint32(b, showPeer)
	b = native.AppendUint64(b, 1<<64-1) // no cookie
	answer, err := k.ask(b)
	if err != nil {
		return false, err
	}
	if len(answer) < unixMessageSize {
		return false, fmt.Errorf("unix_diag: got an answer of %d bytes", len(answer))
	}
	for rest := answer[unixMessageSize:]; len(rest) >= unix.SizeofNlAttr; {
		size := int(native.Uint16(rest))
		if size < unix.SizeofNlAttr || size > len(rest) {
			return false, errors.New("unix_diag: got an attribute that is not whole")
		}
		if native.Uint16(rest[2:]) == peerAttribute && size >= unix.SizeofNlAttr+4 {
			return native.Uint32(rest[unix.SizeofNlAttr:]) != 0, nil
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return false, nil
}
