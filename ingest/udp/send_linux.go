package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Outgoing are the arguments of sendmmsg: datagrams that the kernel reads from memory of
// the caller. They point into themselves and must not be copied. NewOutgoing makes them.
type Outgoing struct {
	headers [BatchSize]mmsghdr
	vectors [BatchSize]unix.Iovec
}

// NewOutgoing returns datagrams without data: the caller must call Set for each before
// Send.
func NewOutgoing() *Outgoing {
	m := new(Outgoing)
	for i := range m.headers {
		h := &m.headers[i].hdr
		h.Iov = &m.vectors[i]
		h.SetIovlen(1)
	}
	return m
}

// Set sets the i-th datagram: its data, which must not be empty, its destination, and its
// control messages; nil: none. The caller owns all three, and keeps them until Send.
func (m *Outgoing) Set(i int, data []byte, name *Name, control []byte) {
	m.vectors[i].Base = &data[0]
	m.vectors[i].SetLen(len(data))
	h := &m.headers[i].hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&name.raw)), name.size()
	h.Control = unsafe.SliceData(control)
	h.SetControllen(len(control))
}

// Send sends the first n datagrams. One that the kernel does not send is lost. It neither
// blocks nor allocates.
func (m *Outgoing) Send(fd, n int) {
	for at := 0; at < n; {
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&m.headers[at])), uintptr(n-at), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			at += int(sent)
		case unix.EINTR:
		default:
			at++
		}
	}
}

// size is the size of the name as the kernel requires it.
func (n *Name) size() uint32 {
	if n.raw.Family == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}
