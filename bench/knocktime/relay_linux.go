package knocktime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// port is the relay's end of a link: it receives the frames of a host, and sends
// frames to it.
type port struct {
	frames *os.File
	header [ethernetBytes]byte // of a frame to the host
}

// openPort opens an interface of the thread's namespace. The kernel delivers all
// received frames to the port, and does not forward them.
func openPort(index int, header [ethernetBytes]byte) (port, error) {
	const protocol = unix.ETH_P_IP
	bigEndian := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return port{}, fmt.Errorf("open a packet socket: %w", os.NewSyscallError("socket", err))
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: index}); err != nil {
		unix.Close(fd)
		return port{}, fmt.Errorf("open a packet socket: %w", os.NewSyscallError("bind", err))
	}
	return port{os.NewFile(uintptr(fd), "frames"), header}, nil
}

// relay forwards frames between two ports, each with the delay of the line.
type relay struct {
	near, far port
	running   sync.WaitGroup
	failed    chan error
}

// maxQueued is the maximum number of frames that wait in the relay. A message has
// fewer.
const maxQueued = 256

type frame struct {
	due   time.Time
	bytes []byte
}

func startRelay(near, far port) *relay {
	r := &relay{near: near, far: far, failed: make(chan error, 4)}
	r.forward(near, far)
	r.forward(far, near)
	return r
}

func (r *relay) close() {
	r.near.frames.Close()
	r.far.frames.Close()
	r.running.Wait()
}

// failure returns the error that has ended a direction, if any.
func (r *relay) failure() error {
	select {
	case err := <-r.failed:
		return fmt.Errorf("relay: %w", err)
	default:
		return nil
	}
}

func (r *relay) forward(from, to port) {
	frames := make(chan frame, maxQueued)
	run := func(what string, f func() error) {
		r.running.Go(func() {
			Prompt()
			if err := f(); err != nil && !errors.Is(err, os.ErrClosed) {
				r.failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	run("receive frames", func() error {
		defer close(frames)
		return receive(from.frames, frames)
	})
	run("deliver frames", func() error { return to.deliver(frames) })
}

// receive sets the time at which each frame is due. tbf sends a frame as a whole,
// when its first bit may leave. Its last bit arrives later by the transmission
// time and half a round trip.
func receive(from io.Reader, frames chan<- frame) error {
	var buffer [2048]byte
	for {
		n, err := from.Read(buffer[:])
		if err != nil {
			return err
		}
		if n <= ethernetBytes {
			continue
		}
		due := time.Now().Add(transmission(n-ethernetBytes) + roundTrip/2)
		frames <- frame{due, append([]byte(nil), buffer[:n]...)}
	}
}

// deliver sends the frames when they are due. After an error it discards them, so
// that receive can end.
func (p port) deliver(frames <-chan frame) (err error) {
	for f := range frames {
		if err != nil {
			continue
		}
		sleepUntil(f.due)
		copy(f.bytes, p.header[:])
		_, err = p.frames.Write(f.bytes)
	}
	return err
}
