package web

import (
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is the number of queries that one system call reads at most.
const batchSize = 64

// receiveBuffer is the size of a socket's queue in bytes: some milliseconds of a flood.
const receiveBuffer = 2 << 20

// messageHeader is the kernel's struct mmsghdr, whose alignment is that of a pointer, as in Go.
type messageHeader struct {
	unix.Msghdr
	size uint32
}

// batch reads queries, and sends their answers, with a system call for many. Its memory is
// allocated when it is made. It belongs to one goroutine. Queries are valid until the next
// receive.
type batch struct {
	raw syscall.RawConn

	in      [batchSize]messageHeader
	vectors [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet6 // of either family
	control [batchSize][controlSize]byte
	queries [batchSize][maxQuery]byte

	out        [batchSize]messageHeader
	outVectors [batchSize]unix.Iovec
	answers    [batchSize][]byte
	waiting    int // answers that have not been sent

	received int
	errno    syscall.Errno
	read     func(fd uintptr) bool
	write    func(fd uintptr) bool
}

func newBatch(s *net.UDPConn) (*batch, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{raw: raw}
	for i := range b.in {
		b.vectors[i].Base = &b.queries[i][0]
		b.vectors[i].SetLen(maxQuery)
		b.in[i].Iov = &b.vectors[i]
		b.in[i].SetIovlen(1)
		b.in[i].Name = (*byte)(unsafe.Pointer(&b.names[i]))
		b.in[i].Control = &b.control[i][0]
		b.out[i].Iov = &b.outVectors[i]
		b.out[i].SetIovlen(1)
		b.answers[i] = make([]byte, 0, maxUDP)
	}
	b.read, b.write = b.readOnce, b.writeAll
	return b, nil
}

// receive waits for queries, and returns their number.
func (b *batch) receive() (int, error) {
	for i := range b.in {
		b.in[i].Namelen = unix.SizeofSockaddrInet6
		b.in[i].SetControllen(controlSize)
	}
	if err := b.raw.Read(b.read); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", b.errno)
	}
	return b.received, nil
}

func (b *batch) readOnce(fd uintptr) (done bool) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in)), batchSize, unix.MSG_DONTWAIT, 0, 0)
	b.received, b.errno = int(n), errno
	return errno != unix.EAGAIN && errno != unix.EINTR
}

// query returns query i; nil: it was longer than maxQuery.
func (b *batch) query(i int) []byte {
	if b.in[i].Flags&unix.MSG_TRUNC != 0 {
		return nil
	}
	return b.queries[i][:b.in[i].size]
}

// room returns memory for the next answer.
func (b *batch) room() []byte { return b.answers[b.waiting][:0] }

// answer adds the answer to query i, which comes from the query's destination.
func (b *batch) answer(i int, answer []byte) {
	b.answers[b.waiting] = answer
	h, v := &b.out[b.waiting], &b.outVectors[b.waiting]
	v.Base = unsafe.SliceData(answer)
	v.SetLen(len(answer))
	h.Name, h.Namelen = b.in[i].Name, b.in[i].Namelen
	control := answerFrom(b.control[i][:b.in[i].Controllen])
	h.Control = unsafe.SliceData(control)
	h.SetControllen(len(control))
	b.waiting++
}

// send sends the answers. An answer that the kernel does not send is lost, like others.
func (b *batch) send() {
	if b.waiting > 0 {
		b.raw.Write(b.write)
		b.waiting = 0
	}
}

func (b *batch) writeAll(fd uintptr) (done bool) {
	for at := 0; at < b.waiting; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[at])), uintptr(b.waiting-at), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			at += int(n)
		case unix.EINTR:
		default:
			at++
		}
	}
	return true
}

// setReceiveBuffer sets the size of a socket's queue, beyond the limit of the host if this
// process may, and else up to it.
func setReceiveBuffer(s *net.UDPConn) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var forced error
	if err := raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	}); err != nil {
		return err
	}
	if forced == nil {
		return nil
	}
	return s.SetReadBuffer(receiveBuffer)
}
