package holder

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxArrays is the number of descriptors of a message.
const maxArrays = 16

// write writes a message with descriptors, which stay open here.
func write(conn net.Conn, message []byte, files []*os.File) error {
	if len(files) == 0 {
		_, err := conn.Write(message)
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	_, _, err := conn.(*net.UnixConn).WriteMsgUnix(message, unix.UnixRights(fds...), nil)
	return err
}

// read reads a message with the files whose descriptors it has, which the caller
// must close.
func read(conn net.Conn, b []byte) (n int, files []*os.File, err error) {
	control := make([]byte, unix.CmsgSpace(maxArrays*4))
	n, used, flags, _, err := conn.(*net.UnixConn).ReadMsgUnix(b, control)
	order(conn)
	if err != nil || used == 0 {
		return n, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:used])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m) // an error: a message of another kind
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "array of the shield"))
		}
	}
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = fmt.Errorf("%w: expected at most %d descriptors", errReply, maxArrays)
	}
	return n, files, err
}

// order lets the race detector know that the message was written before it was read:
// of the calls that read, only read(2) does that. A read of no byte takes none.
func order(conn net.Conn) {
	if raw, err := conn.(*net.UnixConn).SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { syscall.Read(int(fd), nil) })
	}
}
