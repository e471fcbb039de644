package capture

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// All unsafe code and raw system calls of the package are in this file.

const (
	batchSize   = 64
	controlSize = 128 // room for the address that a datagram went to, and the count of drops
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batch is what recvmmsg fills. It points into itself and must not be copied.
type batch struct {
	msgs    [batchSize]mmsghdr
	iovs    [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrAny
	data    [batchSize][snapLength]byte
	control [batchSize][controlSize]byte
	knocks  [batchSize]Knock
}

func newBatch() *batch {
	b := new(batch)
	for i := range b.msgs {
		b.iovs[i].Base = &b.data[i][0]
		b.iovs[i].SetLen(snapLength)
		h := &b.msgs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Control = &b.control[i][0]
	}
	return b
}

// receive takes what waits at a socket, up to a batch, without waiting for
// more.
func (b *batch) receive(fd int) (n int, err error) {
	for i := range b.msgs {
		b.msgs[i].hdr.Namelen = unix.SizeofSockaddrAny
		b.msgs[i].hdr.SetControllen(controlSize)
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.msgs[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// packet returns the i-th packet, cut to snapLength, and the link that it came
// over.
func (b *batch) packet(i int) (data []byte, link *unix.RawSockaddrLinklayer) {
	return b.data[i][:min(b.msgs[i].len, snapLength)], (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&b.names[i]))
}

// source returns where the i-th datagram came from.
func (b *batch) source(i int) netip.AddrPort {
	switch b.names[i].Addr.Family {
	case unix.AF_INET:
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&b.names[i]))
		return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), swapped(name.Port))
	case unix.AF_INET6:
		name := (*unix.RawSockaddrInet6)(unsafe.Pointer(&b.names[i]))
		return netip.AddrPortFrom(zoned(netip.AddrFrom16(name.Addr).Unmap(), name.Scope_id), swapped(name.Port))
	}
	return netip.AddrPort{}
}

// swapped is a port as the network has it.
func swapped(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// zoned is an address of a link, with the link.
func zoned(a netip.Addr, link uint32) netip.Addr {
	if link != 0 && a.IsLinkLocalUnicast() && a.Is6() {
		return a.WithZone(strconv.FormatUint(uint64(link), 10))
	}
	return a
}

// told returns what the kernel says besides of the i-th datagram: to which
// address it went, and how many the socket has dropped till then.
func (b *batch) told(i int) (to netip.Addr, drops uint32) {
	rest := b.control[i][:b.msgs[i].hdr.Controllen]
	for len(rest) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		if h.Len < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(rest)) {
			break
		}
		data := rest[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			to = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Addr)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			to = zoned(netip.AddrFrom16(info.Addr).Unmap(), info.Ifindex)
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			drops = binary.NativeEndian.Uint32(data)
		}
		rest = rest[min(unix.CmsgSpace(int(h.Len)-unix.CmsgLen(0)), len(rest)):]
	}
	return to, drops
}

// attach has a socket's packets filtered.
func attach(fd int, program []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
