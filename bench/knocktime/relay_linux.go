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

// port is the relay's side of a link: it takes in the host's frames, and gives
// it those that are for it.
type port struct {
	frames *os.File
	header [ethernetBytes]byte // of a frame to the host
}

// openPort is for the namespace that the thread is in. The kernel gives it what
// comes in, and does nothing else with that: it does not forward.
func openPort(index int, header [ethernetBytes]byte) (port, error) {
	const protocol = unix.ETH_P_IP
	bigEndian := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return port{}, fmt.Errorf("take frames in: %w", os.NewSyscallError("socket", err))
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: index}); err != nil {
		unix.Close(fd)
		return port{}, fmt.Errorf("take frames in: %w", os.NewSyscallError("bind", err))
	}
	return port{os.NewFile(uintptr(fd), "frames"), header}, nil
}

// relay carries frames between two ports, each one later by the time that it
// is on its way.
type relay struct {
	near, far port
	running   sync.WaitGroup
	failed    chan error
}

// onTheWay are the frames that wait in the relay at most; a message has fewer.
const onTheWay = 256

type frame struct {
	due   time.Time
	bytes []byte
}

func startRelay(near, far port) *relay {
	r := &relay{near: near, far: far, failed: make(chan error, 4)}
	r.carry(near, far)
	r.carry(far, near)
	return r
}

func (r *relay) close() {
	r.near.frames.Close()
	r.far.frames.Close()
	r.running.Wait()
}

// failure is what a direction died of, if one did.
func (r *relay) failure() error {
	select {
	case err := <-r.failed:
		return fmt.Errorf("relay: %w", err)
	default:
		return nil
	}
}

func (r *relay) carry(from, to port) {
	frames := make(chan frame, onTheWay)
	run := func(what string, f func() error) {
		r.running.Go(func() {
			prompt()
			if err := f(); err != nil && !errors.Is(err, os.ErrClosed) {
				r.failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	run("take frames in", func() error {
		defer close(frames)
		return takeIn(from.frames, frames)
	})
	run("deliver frames", func() error { return to.deliver(frames) })
}

// takeIn stamps each frame. tbf lets it go all at once, when its first bit may
// leave: its last one arrives later by its transmission and half a round trip.
func takeIn(from io.Reader, frames chan<- frame) error {
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

// deliver goes on taking frames off when it cannot write, so that takeIn ends.
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
