package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

// queueSize is the size of a socket's queue, in bytes: some ten thousand packets. Without
// CAP_NET_ADMIN, the kernel's net.core.rmem_max bounds it, by default to some hundred.
const queueSize = 4 << 20

// Settings are the properties of a capture that its sockets depend on.
type Settings struct {
	First, Last uint16 // the range of ports, inclusive
	// TCP: the packets are bare SYNs, and not empty UDP packets. They have no answer.
	TCP bool
	// Addresses are the addresses of this host whose packets are accepted; none:
	// all.
	Addresses []netip.Addr
}

// Equal reports whether two captures receive the same packets.
func (s Settings) Equal(o Settings) bool {
	return s.First == o.First && s.Last == o.Last && s.TCP == o.TCP && slices.Equal(s.Addresses, o.Addresses)
}

func (s Settings) rule() rule { return rule{s.First, s.Last, s.TCP} }

// The names of the sockets, for a process that inherits them.
const (
	packet4Name = "packet4"
	packet6Name = "packet6"
	raw4Name    = "raw4"
	raw6Name    = "raw6"
)

// Sockets are the sockets of a capture. Their filters are locked (SO_LOCK_FILTER):
// a process that has them can neither change nor remove the filters, and cannot
// open such sockets itself without CAP_NET_RAW.
type Sockets struct {
	packet4, packet6 *os.File
	raw              rawSockets
}

// OpenSockets opens the sockets of a capture, which requires CAP_NET_RAW. Mark is
// the mark (SO_MARK) of answers, by which a firewall recognises them; 0: none.
// Before Linux 5.17 a mark requires CAP_NET_ADMIN; without it answers have no mark.
func OpenSockets(s Settings, mark uint32) (_ *Sockets, err error) {
	o := &Sockets{}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if o.packet4, err = openPacket(s.rule(), false); err != nil {
		return nil, withHint(fmt.Errorf("capture packets: %w", err))
	}
	if o.packet6, err = openPacket(s.rule(), true); err != nil {
		return nil, withHint(fmt.Errorf("capture packets: %w", err))
	}
	if s.TCP {
		return o, nil // without a way to answer
	}
	if o.raw, err = openRaw(mark); err != nil {
		return nil, withHint(fmt.Errorf("open a raw socket for answers: %w", err))
	}
	return o, nil
}

// openPacket opens a packet socket for one family. It receives nothing before its
// filter is attached and locked.
func openPacket(r rule, v6 bool) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	name, protocol := packet4Name, uint16(unix.ETH_P_IP)
	if v6 {
		name, protocol = packet6Name, unix.ETH_P_IPV6
	}
	f := os.NewFile(uintptr(fd), name)
	if err := attachLocked(fd, prefilter.Attach(fd, r.program(v6, true))); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := udp.SetBuffer(fd, queueSize); err != nil {
		f.Close()
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		f.Close()
		return nil, os.NewSyscallError("setsockopt SO_TIMESTAMPNS", err)
	}
	// Index 0 stands for all interfaces, also for those that come later. A socket of
	// one protocol does not receive packets that this host sends.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: udp.Swap(protocol)}); err != nil {
		f.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return f, nil
}

// attachLocked locks the filter of a socket, unless it could not be attached.
func attachLocked(fd int, err error) error {
	if err == nil {
		err = os.NewSyscallError("setsockopt SO_LOCK_FILTER", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1))
	}
	return err
}

// Files returns the sockets by name, for a process that inherits them.
func (o *Sockets) Files() map[string]*os.File {
	all := map[string]*os.File{packet4Name: o.packet4, packet6Name: o.packet6, raw4Name: o.raw.v4, raw6Name: o.raw.v6}
	for name, f := range all {
		if f == nil {
			delete(all, name) // this host lacks the family
		}
	}
	return all
}

// InheritSockets takes over the sockets of Files in the process that inherits them,
// by the numbers of their descriptors.
func InheritSockets(descriptors map[string]int) (*Sockets, error) {
	o := &Sockets{}
	for name, file := range map[string]**os.File{
		packet4Name: &o.packet4, packet6Name: &o.packet6, raw4Name: &o.raw.v4, raw6Name: &o.raw.v6,
	} {
		fd, ok := descriptors[name]
		if !ok {
			continue
		}
		// The process that passed it on may have changed the mode that both share.
		if err := unix.SetNonblock(fd, true); err != nil {
			o.Close()
			return nil, os.NewSyscallError("fcntl", err)
		}
		*file = os.NewFile(uintptr(fd), name)
	}
	if o.packet4 == nil || o.packet6 == nil {
		o.Close()
		return nil, errors.New("expected two packet sockets, got fewer")
	}
	return o, nil
}

// Close closes all sockets.
func (o *Sockets) Close() {
	for _, f := range o.Files() {
		f.Close()
	}
}

// deniedError is the error for a missing capability.
type deniedError struct{ error }

func (e deniedError) Unwrap() error { return e.error }

// Hint returns what the administrator can do.
func (deniedError) Hint() string {
	return "start the server with CAP_NET_RAW, as root or as container/sallyportd.service shows; " +
		"or choose a small range of ports and capture = \"sockets\""
}

// familyError is the error for a sandbox without packet sockets.
type familyError struct{ error }

func (e familyError) Unwrap() error { return e.error }

// Hint returns what the administrator can do.
func (familyError) Hint() string {
	return "allow packet sockets in the server's sandbox: add AF_PACKET to RestrictAddressFamilies, as container/sallyportd.service shows"
}

func withHint(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return deniedError{fmt.Errorf("%w: CAP_NET_RAW is required", err)}
	case errors.Is(err, unix.EAFNOSUPPORT):
		return familyError{err}
	}
	return err
}
