package real

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const ethernetBytes = 14

// port is the relay's end of a link: it receives the frames of a host, and sends
// frames to it. Each method belongs to one goroutine.
type port struct {
	fd     int
	header [ethernetBytes]byte // of a frame to the host
	buffer [2048]byte
	oob    [64]byte
}

// openPort opens an interface of the thread's namespace. It receives IPv4 frames, with
// the times of their arrival.
func openPort(index int, ours, theirs net.HardwareAddr) (*port, error) {
	const protocol = unix.ETH_P_IP
	p := &port{}
	copy(p.header[:6], theirs)
	copy(p.header[6:], ours)
	p.header[12], p.header[13] = unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff
	var err error
	p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", os.NewSyscallError("socket", err))
	}
	const queue = 4 << 20 // bytes; the kernel may allow less
	if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queue) != nil {
		_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queue)
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		p.close()
		return nil, fmt.Errorf("open a packet socket: %w", os.NewSyscallError("setsockopt", err))
	}
	bigEndian := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	if err := unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: index}); err != nil {
		p.close()
		return nil, fmt.Errorf("open a packet socket: %w", os.NewSyscallError("bind", err))
	}
	return p, nil
}

func (p *port) close() { unix.Close(p.fd) }

// receive returns a frame, which is valid until the next call, and the time at which
// it arrived. The error is EAGAIN if there is none.
func (p *port) receive() (frame []byte, at time.Time, err error) {
	n, oobn, _, _, err := unix.Recvmsg(p.fd, p.buffer[:], p.oob[:], 0)
	if err != nil {
		return nil, at, err
	}
	at = time.Now()
	messages, err := unix.ParseSocketControlMessage(p.oob[:oobn])
	if err != nil {
		return nil, at, fmt.Errorf("read the time of a frame: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			sec := binary.NativeEndian.Uint64(m.Data)
			nsec := binary.NativeEndian.Uint64(m.Data[8:])
			at = time.Unix(int64(sec), int64(nsec))
		}
	}
	return p.buffer[:n], at, nil
}

// send sends a frame to the host. The frame's Ethernet header is replaced.
func (p *port) send(frame []byte) error {
	copy(frame, p.header[:])
	_, err := unix.Write(p.fd, frame)
	return os.NewSyscallError("write", err)
}

// dropped returns how many frames the kernel has dropped since the last call, because
// the socket's queue was full.
func (p *port) dropped() (uint32, error) {
	s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("count the relay's lost frames: %w", os.NewSyscallError("getsockopt", err))
	}
	return s.Drops, nil
}
