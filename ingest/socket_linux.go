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
// taking IPv4 as well. What prepare does to the socket is done before the
// first datagram can come.
func openSocket(a netip.AddrPort, v6only bool, with sharing, prepare func(fd int) error) (fd int, err error) {
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
	if prepare != nil {
		if err := prepare(fd); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, name); err != nil {
		return -1, os.NewSyscallError("bind "+a.String(), err)
	}
	return fd, nil
}

// setBuffer asks for a receive buffer and returns what the kernel gives. It
// accounts for twice as much as it was asked for, its own overhead included.
func setBuffer(fd, size int) (given int, err error) {
	// More than net.core.rmem_max takes CAP_NET_ADMIN.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
			return 0, os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	given, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return given / 2, os.NewSyscallError("getsockopt SO_RCVBUF", err)
}

// kernelDrops returns how many datagrams the kernel has not queued at a
// socket, since its queue was full or a filter refused them; modulo 2^32. The
// kernel counts the two as one, here as in SO_RXQ_OVFL.
func kernelDrops(fd int) (uint32, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return info[unix.SK_MEMINFO_DROPS], nil
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
