package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstInherited is the first descriptor of sd_listen_fds(3).
const firstInherited = 3

// maxInherited is how many sockets a program may get.
const maxInherited = 256

// Inherited returns the sockets that systemd has opened for this process, by
// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, which it removes from the environment. It
// returns none if the variables are not set, or are for another process. Each must be a
// listening TCP or Unix socket, or a UDP socket. Only one call gets them.
func Inherited() ([]Socket, error) {
	count, pid, names := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxInherited {
		return nil, fmt.Errorf("LISTEN_FDS: expected a number from 0 to %d, got %q", maxInherited, count)
	}
	list := strings.Split(names, ":")
	var sockets []Socket
	for i := range n {
		name := ""
		if len(list) == n {
			name = list[i]
		}
		s, err := inherit(firstInherited+i, name)
		if err != nil {
			return nil, fmt.Errorf("socket %d of LISTEN_FDS (%q): %w", i+1, name, err)
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// inherit returns a descriptor as a socket, if it is of the right kind.
func inherit(fd int, name string) (s Socket, err error) {
	unix.CloseOnExec(fd)
	s.Name = name
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return s, fmt.Errorf("expected a socket: %w", os.NewSyscallError("getsockopt", err))
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return s, os.NewSyscallError("getsockopt", err)
	}
	internet := domain == unix.AF_INET || domain == unix.AF_INET6
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return s, os.NewSyscallError("getsockopt", err)
	}
	f := os.NewFile(uintptr(fd), "socket "+name)
	switch {
	case kind == unix.SOCK_STREAM && listening == 0:
		return s, errors.New("expected a listening socket, got one that does not listen: set Accept=no in the socket unit")
	case kind == unix.SOCK_STREAM && (internet || domain == unix.AF_UNIX):
		defer f.Close() // FileListener has a copy
		if s.Stream, err = net.FileListener(f); err != nil {
			return s, err
		}
		s.setLocal(s.Stream.Addr())
	case kind == unix.SOCK_DGRAM && internet:
		defer f.Close()
		p, err := net.FilePacketConn(f)
		if err != nil {
			return s, err
		}
		s.Packet = p.(*net.UDPConn)
		s.setLocal(p.LocalAddr())
	default:
		return s, errors.New("expected a listening TCP or Unix socket (ListenStream=), or a UDP socket (ListenDatagram= with a port)")
	}
	// systemd removes its Unix sockets, or keeps them for the next start.
	if l, ok := s.Stream.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false)
	}
	return s, nil
}

func (s *Socket) setLocal(a net.Addr) {
	s.Local = a.String()
	switch a := a.(type) {
	case *net.TCPAddr:
		s.Address = unmapped(a.AddrPort())
	case *net.UDPAddr:
		s.Address = unmapped(a.AddrPort())
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
