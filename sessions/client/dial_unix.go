//go:build linux || darwin

package client

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"sallyport/verify/wire"
)

// dialling is a connection that the client has begun. On Linux it is half-open until
// finish.
type dialling struct {
	local netip.Addr // of this computer
	begun time.Time
	file  *os.File
	raw   syscall.RawConn
}

// dial begins a connection to a service, and does not wait for it. It opens the socket
// on the caller's thread, which may be in another network namespace. Package net can do
// neither.
func dial(service netip.AddrPort, isn wire.ISN) (*dialling, error) {
	fd, err := beginConnect(service, isn)
	if err != nil {
		return nil, dialError(service, err)
	}
	d := &dialling{begun: time.Now(), file: os.NewFile(uintptr(fd), "tcp")}
	if d.raw, err = d.file.SyscallConn(); err != nil {
		d.close()
		return nil, dialError(service, err)
	}
	if a, err := syscall.Getsockname(fd); err == nil {
		d.local = addressOf(a)
	}
	return d, nil
}

// beginConnect returns a socket that sends a SYN.
func beginConnect(service netip.AddrPort, isn wire.ISN) (fd int, err error) {
	family := syscall.AF_INET6
	if service.Addr().Is4() {
		family = syscall.AF_INET
	}
	address, err := sockaddr(service)
	if err != nil {
		return -1, err
	}
	syscall.ForkLock.RLock()
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = syscall.SetNonblock(fd, true); err == nil {
		halfOpen(fd)
		if isn != 0 {
			err = setISN(fd, isn)
		}
	}
	if err == nil {
		err = syscall.Connect(fd, address)
	}
	if err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// wait waits for the answer to the SYN.
func (d *dialling) wait() error {
	var answer error
	err := d.raw.Write(func(fd uintptr) (done bool) {
		done, answer = answerOf(int(fd))
		return done
	})
	if err == nil {
		err = answer
	}
	return err
}

// answerOf returns the answer to the SYN. It does not wait.
func answerOf(fd int) (done bool, err error) {
	errno, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	switch syscall.Errno(errno) {
	case 0:
		_, err = syscall.Getpeername(fd)
		return err == nil, nil
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
		return false, nil
	}
	return true, os.NewSyscallError("connect", syscall.Errno(errno))
}

// finish completes the handshake, and returns the connection. The caller must not use d
// afterwards.
func (d *dialling) finish() (*net.TCPConn, error) {
	defer d.file.Close()
	restore := func(uintptr) {}
	err := d.raw.Control(func(fd uintptr) {
		completeHandshake(int(fd))
		restore = keepaliveOf(int(fd))
	})
	if err != nil {
		return nil, err
	}
	c, err := net.FileConn(d.file)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(restore)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// keepaliveOf returns a function that sets the keepalive of a socket as it is now.
// Package net sets another.
func keepaliveOf(fd int) (restore func(fd uintptr)) {
	options := [][2]int{{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}}
	for _, o := range keepaliveTimes {
		options = append(options, [2]int{syscall.IPPROTO_TCP, o})
	}
	var values []int
	for _, o := range options {
		v, err := syscall.GetsockoptInt(fd, o[0], o[1])
		if err != nil {
			v = 0
		}
		values = append(values, v)
	}
	return func(fd uintptr) {
		for i, o := range options {
			syscall.SetsockoptInt(int(fd), o[0], o[1], values[i])
		}
	}
}

// close abandons the connection: on Linux the kernel resets it.
func (d *dialling) close() {
	if d != nil {
		d.file.Close()
	}
}

// addressOf returns the address of a socket, without its zone.
func addressOf(a syscall.Sockaddr) netip.Addr {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *syscall.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}
