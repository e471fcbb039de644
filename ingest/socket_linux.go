package ingest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All unsafe code and raw system calls of the package are in this file.

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// frame is what recvmmsg fills beside the data. It points into its batch and
// must not be copied after init.
type frame struct {
	msgs  [batchSize]mmsghdr
	iovs  [batchSize]unix.Iovec
	names [batchSize]unix.RawSockaddrInet6 // large enough for IPv4 too
}

func (f *frame) init(data *[batchSize][bufferSize]byte) {
	for i := range f.msgs {
		f.iovs[i].Base = &data[i][0]
		f.iovs[i].SetLen(bufferSize)
		h := &f.msgs[i].hdr
		h.Iov = &f.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&f.names[i]))
	}
}

func (f *frame) length(i int) int { return int(f.msgs[i].len) }

// source returns the address that the i-th datagram came from. The zone of a
// link-local address is the number of the interface.
func (f *frame) source(i int) netip.Addr {
	name := &f.names[i]
	if name.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	}
	a := netip.AddrFrom16(name.Addr).Unmap()
	if a.IsLinkLocalUnicast() && name.Scope_id != 0 {
		a = a.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
	}
	return a
}

// receive adds what waits at the socket to b, as far as there is room,
// without waiting for more. It does not allocate. The call cannot block, so
// the scheduler is not told.
func receive(fd int, b *batch) (n int, err error) {
	free := b.frame.msgs[b.n:]
	for i := range free {
		free[i].hdr.Namelen = unix.SizeofSockaddrInet6
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// openSocket binds a UDP socket. v6only keeps an unspecified IPv6 address from
// taking IPv4 as well.
func openSocket(a netip.AddrPort, v6only bool, with sharing) (fd int, err error) {
	family, name, err := sockaddr(a)
	if err != nil {
		return -1, err
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, flag(bool(with))); err != nil {
		return -1, os.NewSyscallError("setsockopt SO_REUSEPORT", err)
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, flag(v6only)); err != nil {
			return -1, os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	if err := unix.Bind(fd, name); err != nil {
		return -1, os.NewSyscallError("bind "+a.String(), err)
	}
	return fd, nil
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

func sockaddr(a netip.AddrPort) (family int, name unix.Sockaddr, err error) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	in6 := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return 0, nil, fmt.Errorf("find the interface %s of %s: %w", zone, a, err)
		}
		in6.ZoneId = uint32(i.Index)
	}
	return unix.AF_INET6, in6, nil
}

func closeSockets(sockets []*socket) {
	for _, s := range sockets {
		unix.Close(s.fd)
	}
}

// anyAddress is the unspecified address that takes every family the host has.
func anyAddress() []netip.Addr {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return []netip.Addr{netip.IPv4Unspecified()}
	}
	unix.Close(fd)
	return []netip.Addr{netip.IPv6Unspecified()}
}
