package looks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// wire is a packet socket on the stranger's end of the link.
type wire struct {
	fd      int
	to      unix.SockaddrLinklayer
	mark    []byte
	buffer  []byte
	control []byte
}

// patience is how long the answer to a mark may take, before the mark is sent again.
const patience = time.Second

func openWire(outside *netns.Host, device string, remote net.HardwareAddr, mark []byte) (*wire, error) {
	w := &wire{mark: mark, buffer: make([]byte, 1<<16), control: make([]byte, 256)}
	err := outside.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return os.NewSyscallError("socket", err)
		}
		w.to = unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6}
		copy(w.to.Addr[:], remote)
		wait := unix.NsecToTimeval(patience.Nanoseconds())
		return errors.Join(
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Ifindex: link.Index, Protocol: all}),
			unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20))
	})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return w, nil
}

func (w *wire) send(packet []byte) error {
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	w.to.Protocol = binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, kind))
	return os.NewSyscallError("sendto", unix.Sendto(w.fd, packet, 0, &w.to))
}

// received is an answer, and when it arrived.
type received struct {
	answer
	at time.Time
}

// ask sends packets, and returns all packets that come back until the answer to the mark.
func (w *wire) ask(packets ...[]byte) (began time.Time, got []received, err error) {
	began = time.Now()
	for _, p := range packets {
		if err := w.send(p); err != nil {
			return began, nil, err
		}
	}
	got, err = w.drain()
	return began, got, err
}

// drain sends a mark, and reads until its answer.
func (w *wire) drain() (got []received, err error) {
	if err := w.send(w.mark); err != nil {
		return nil, err
	}
	for tries := 0; ; {
		n, controls, _, from, err := unix.Recvmsg(w.fd, w.buffer, w.control, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) && tries < 30: // the mark may have been lost
			tries++
			if err := w.send(w.mark); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		}
		if from, ok := from.(*unix.SockaddrLinklayer); !ok || from.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		a, ok := read(w.buffer[:n])
		switch {
		case !ok:
		case a.mark:
			return got, nil
		default:
			got = append(got, received{a, arrival(w.control[:controls])})
		}
	}
}

// arrival is the kernel's time of a packet.
func arrival(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

func (w *wire) close() error { return unix.Close(w.fd) }
