package sockowner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNone means that there is no such socket on this host.
var ErrNone = errors.New("no socket of this host")

// ForeignError means that a socket belongs to another user than required.
type ForeignError struct{ Owner, Required uint32 }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("the socket belongs to user ID %d, expected user ID %d", e.Owner, e.Required)
}

// Require returns a ForeignError if owner is not the user required. It returns err if
// that is not nil.
func Require(owner, required uint32, err error) error {
	if err == nil && owner != required {
		return &ForeignError{owner, required}
	}
	return err
}

// States of sockets (the kernel's TCP_ESTABLISHED and so on).
const (
	synReceived = 3
	listening   = 10
	newReceived = 12 // TCP_NEW_SYN_RECV
)

// loopbackLink is the index of the loopback, by which a host's packets to itself
// arrive, in each network namespace. Without it, the lookup would miss sockets that
// are bound to that interface.
const loopbackLink = 1

// socket is a socket as the kernel reports it.
type socket struct {
	state       byte
	here, there netip.AddrPort
	uid, inode  uint32
}

// Listener returns the user of the TCP socket that would accept a connection to an
// address of this host. The error may be ErrNone.
func Listener(at netip.AddrPort) (uid uint32, err error) {
	err = withKernel(func(k kernel) error {
		uid, err = k.listener(at)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the user who listens at %s: %w", at, err)
	}
	return uid, nil
}

// Accepted returns the user of the other end, on this host, of a TCP connection from
// here to there. The error may be ErrNone.
func Accepted(here, there netip.AddrPort) (uid uint32, err error) {
	err = withKernel(func(k kernel) error {
		uid, err = k.accepted(here, there)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the user who accepted the connection to %s: %w", there, err)
	}
	return uid, nil
}

// Receiver returns the user of the UDP socket, on this host, that would receive a
// datagram from here to there. The error may be ErrNone.
func Receiver(here, there netip.AddrPort) (uid uint32, err error) {
	err = withKernel(func(k kernel) error {
		s, err := k.lookup(unix.IPPROTO_UDP, here, there) // swapped, "for historical reasons" (udp_diag.c)
		if err == nil && s.here.Port() != there.Port() {
			err = ErrNone
		}
		uid = s.uid
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the user who receives at %s: %w", there, err)
	}
	return uid, nil
}

// kernel is a socket for questions to sock_diag(7).
type kernel int

func withKernel(f func(kernel) error) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return f(kernel(fd))
}

func (k kernel) listener(at netip.AddrPort) (uid uint32, err error) {
	// No connection is from port 0, so that only a listening socket matches.
	s, err := k.lookup(unix.IPPROTO_TCP, at, netip.AddrPortFrom(at.Addr(), 0))
	if err == nil && s.state != listening {
		err = ErrNone
	}
	return s.uid, err
}

func (k kernel) accepted(here, there netip.AddrPort) (uid uint32, err error) {
	// Until the program accepts the connection, it belongs to the socket that
	// listens. That is looked up first: if the connection still waits afterwards,
	// the socket was the same all the time, because no other could listen there
	// before it was closed, and that would have reset the connection.
	uid, notListening := k.listener(there)
	s, err := k.lookup(unix.IPPROTO_TCP, there, here)
	switch waits := s.inode == 0 || s.state == synReceived || s.state == newReceived; {
	case err != nil:
		return 0, err
	case s.here != there || s.there != here:
		return 0, ErrNone
	case waits:
		return uid, notListening
	}
	return s.uid, nil
}

const (
	requestSize  = unix.SizeofNlMsghdr + 56 // inet_diag_req_v2
	messageSize  = 72                       // inet_diag_msg
	answerBuffer = 1024                     // more than an answer without extensions
)

// lookup asks for one socket, as the kernel looks it up for a packet from there to
// here.
func (k kernel) lookup(protocol byte, here, there netip.AddrPort) (s socket, err error) {
	body, err := k.ask(appendRequest(nil, protocol, here, there))
	if err != nil {
		return s, err
	}
	return parseSocket(body)
}

// ask sends a request, and returns the body of the answer. The error is ErrNone if the
// kernel has no such socket, or cannot look up sockets of its family.
func (k kernel) ask(request []byte) (body []byte, err error) {
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(int(k), request, 0, to); err != nil {
		return nil, os.NewSyscallError("send", err)
	}
	// The kernel has answered when the send returns.
	b := make([]byte, answerBuffer)
	for {
		n, from, err := unix.Recvfrom(int(k), b, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("receive", err)
		}
		if from, ok := from.(*unix.SockaddrNetlink); ok && from.Pid == 0 {
			return parseAnswer(b[:n])
		}
	}
}

func appendRequest(b []byte, protocol byte, here, there netip.AddrPort) []byte {
	family := byte(unix.AF_INET6)
	if here.Addr().Is4() {
		family = unix.AF_INET
	}
	native := binary.NativeEndian
	b = native.AppendUint32(b, requestSize)
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...)     // sequence number and port
	b = append(b, family, protocol, 0, 0) // no extensions
	b = native.AppendUint32(b, 1<<32-1)   // all states
	b = binary.BigEndian.AppendUint16(b, here.Port())
	b = binary.BigEndian.AppendUint16(b, there.Port())
	b = appendAddress(b, here.Addr())
	b = appendAddress(b, there.Addr())
	b = native.AppendUint32(b, loopbackLink)
	return native.AppendUint64(b, 1<<64-1) // INET_DIAG_NOCOOKIE
}

// appendAddress appends 16 bytes.
func appendAddress(b []byte, a netip.Addr) []byte {
	raw := a.AsSlice()
	return append(append(b, raw...), make([]byte, 16-len(raw))...)
}

// parseAnswer returns the body of one message of the kernel.
func parseAnswer(b []byte) (body []byte, err error) {
	native := binary.NativeEndian
	if len(b) < unix.SizeofNlMsghdr+4 {
		return nil, fmt.Errorf("sock_diag: got an answer of %d bytes", len(b))
	}
	kind, body := native.Uint16(b[4:]), b[unix.SizeofNlMsghdr:]
	switch {
	case kind == unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(native.Uint32(body)))
		if errno == unix.ENOENT {
			return nil, ErrNone
		}
		return nil, os.NewSyscallError("sock_diag", errno)
	case kind != unix.SOCK_DIAG_BY_FAMILY:
		return nil, fmt.Errorf("sock_diag: got a message of type %d and %d bytes", kind, len(b))
	}
	return body, nil
}

// parseSocket parses an inet_diag_msg.
func parseSocket(body []byte) (s socket, err error) {
	if len(body) < messageSize {
		return s, fmt.Errorf("sock_diag: got a message of %d bytes", len(body))
	}
	address := func(at int) netip.Addr {
		if body[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(body[at:]))
		}
		return netip.AddrFrom16([16]byte(body[at:])).Unmap()
	}
	return socket{
		state: body[1],
		here:  netip.AddrPortFrom(address(8), binary.BigEndian.Uint16(body[4:])),
		there: netip.AddrPortFrom(address(24), binary.BigEndian.Uint16(body[6:])),
		uid:   binary.NativeEndian.Uint32(body[64:]), inode: binary.NativeEndian.Uint32(body[68:]),
	}, nil
}
