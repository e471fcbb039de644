package udp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All unsafe code and raw system calls of ingest are in this file and in send_linux.go,
// except for the memory that package xdp shares with the kernel.

// BatchSize is the number of datagrams in Messages. A larger one gains nothing.
const BatchSize = 64

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2), whose alignment is that of a
// pointer, as in Go.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// Messages are the arguments of recvmmsg: where the kernel writes datagrams. They
// point into themselves and must not be copied. NewMessages makes them.
type Messages struct {
	headers [BatchSize]mmsghdr
	vectors [BatchSize]unix.Iovec
	control [BatchSize]uint32 // the size of each control buffer
}

// NewMessages returns messages without buffers: the caller must call Into for
// each before Receive.
func NewMessages() *Messages {
	m := new(Messages)
	for i := range m.headers {
		h := &m.headers[i].hdr
		h.Iov = &m.vectors[i]
		h.SetIovlen(1)
	}
	return m
}

// Into sets where the kernel writes the i-th datagram, and the name of its
// sender. The caller owns both. A datagram that is longer than data is truncated.
func (m *Messages) Into(i int, data []byte, name *Name) {
	m.vectors[i].Base = &data[0]
	m.vectors[i].SetLen(len(data))
	m.headers[i].hdr.Name = (*byte)(unsafe.Pointer(&name.raw))
}

// Control sets where the kernel writes the control messages of the i-th
// datagram. The caller owns b, which must not be empty.
func (m *Messages) Control(i int, b []byte) {
	m.headers[i].hdr.Control = &b[0]
	m.control[i] = uint32(len(b))
}

// Receive reads the queue of a socket into the messages from index from on, and
// returns how many datagrams it has read: at least one, or an error (EAGAIN: the
// queue is empty). It does not allocate. It never blocks, so the system call does
// not inform the scheduler (RawSyscall).
func (m *Messages) Receive(fd, from int) (n int, err error) {
	free := m.headers[from:]
	for i := range free {
		free[i].hdr.Namelen = uint32(unsafe.Sizeof(Name{}))
		free[i].hdr.SetControllen(int(m.control[from+i]))
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// Len returns the number of bytes written for the i-th datagram.
func (m *Messages) Len(i int) int { return int(m.headers[i].len) }

// Truncated reports whether the i-th datagram was longer than its memory.
func (m *Messages) Truncated(i int) bool { return m.headers[i].hdr.Flags&unix.MSG_TRUNC != 0 }

// ControlLen returns the number of bytes written for its control messages.
func (m *Messages) ControlLen(i int) int { return int(m.headers[i].hdr.Controllen) }

// Name is the source of a datagram, as the kernel writes it. It has room for an
// IPv4, IPv6 or link-layer address.
type Name struct{ raw unix.RawSockaddrInet6 }

// NameOf returns the name of an address without a zone.
func NameOf(a netip.AddrPort) (n Name) {
	if a.Addr().Is4() {
		v4 := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: Swap(a.Port()), Addr: a.Addr().As4()}
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&n.raw)) = v4
		return n
	}
	n.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: Swap(a.Port()), Addr: a.Addr().As16()}
	return n
}

// Set makes a the address, in which IPv4 is ::ffff:a.b.c.d, without a zone. It does not
// allocate.
func (n *Name) Set(a [16]byte, port uint16) {
	if binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&n.raw))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: Swap(port), Addr: [4]byte(a[12:])}
		return
	}
	n.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: Swap(port), Addr: a}
}

// Addr returns the IP address, or the zero Addr if the name is no IP address. The
// zone of a link-local address is the number of the interface; only a zone
// allocates.
func (n *Name) Addr() netip.Addr {
	switch n.raw.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&n.raw)).Addr)
	case unix.AF_INET6:
		return WithLink(netip.AddrFrom16(n.raw.Addr).Unmap(), n.raw.Scope_id)
	}
	return netip.Addr{}
}

// Port returns the port; 0 if there is none.
func (n *Name) Port() uint16 {
	if n.raw.Family == unix.AF_INET || n.raw.Family == unix.AF_INET6 {
		return Swap(n.raw.Port) // at the same place in both
	}
	return 0
}

// Link returns the interface over which a packet socket received the packet,
// and whether that is the loopback.
func (n *Name) Link() (index uint32, loopback bool) {
	ll := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&n.raw))
	return uint32(ll.Ifindex), ll.Hatype == unix.ARPHRD_LOOPBACK
}

// WithLink returns a link-local address of IPv6 with its interface as the zone,
// and any other address as it is.
func WithLink(a netip.Addr, index uint32) netip.Addr {
	if index != 0 && a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(strconv.FormatUint(uint64(index), 10))
	}
	return a
}

// Swap converts a number between the host's byte order and the network's.
func Swap(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}

// ParseControl parses control messages: the destination address of a datagram
// (IP_PKTINFO, IPV6_RECVPKTINFO), and how many datagrams the socket had dropped
// before it (SO_RXQ_OVFL).
func ParseControl(b []byte) (to netip.Addr, drops uint32) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		if uint64(h.Len) < uint64(unix.CmsgLen(0)) || uint64(h.Len) > uint64(len(b)) {
			break
		}
		data := b[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			to = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Addr)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			to = WithLink(netip.AddrFrom16(info.Addr).Unmap(), info.Ifindex)
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			drops = binary.NativeEndian.Uint32(data)
		}
		b = b[min(unix.CmsgSpace(int(h.Len)-unix.CmsgLen(0)), len(b)):]
	}
	return to, drops
}

// ParseTime parses control messages: the time of day at which the kernel received a
// datagram, in nanoseconds since 1970 (SO_TIMESTAMPNS). 0: there is none.
func ParseTime(b []byte) int64 {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		if uint64(h.Len) < uint64(unix.CmsgLen(0)) || uint64(h.Len) > uint64(len(b)) {
			break
		}
		data := b[unix.CmsgLen(0):h.Len]
		size := int(unsafe.Sizeof(unix.Timespec{}))
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= size {
			var at unix.Timespec
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&at)), size), data)
			return at.Nano()
		}
		b = b[min(unix.CmsgSpace(int(h.Len)-unix.CmsgLen(0)), len(b)):]
	}
	return 0
}

// Drops returns how many datagrams the kernel has not queued at a socket, because
// a filter refused them, their checksum was wrong, or the queue was full; modulo
// 2^32. The kernel has one count for all causes, here as in SO_RXQ_OVFL.
func Drops(fd int) (uint32, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return info[unix.SK_MEMINFO_DROPS], nil
}
