package flood

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/bench/clock"
)

// batchSize is the number of frames in one system call.
const batchSize = 64

// packet plays streams with sendmmsg on a packet socket.
type packet struct {
	fd   int
	core int
}

// NewPacket returns a Generator that sends over an interface of the thread's
// network namespace, from one core. It requires CAP_NET_RAW there.
func NewPacket(index, core int) (Generator, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", os.NewSyscallError("socket", err))
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind a packet socket: %w", os.NewSyscallError("bind", err))
	}
	// Bypass the queues of the interface: a frame is sent or dropped immediately.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("configure a packet socket: %w", os.NewSyscallError("setsockopt", err))
	}
	return &packet{fd, core}, nil
}

func (p *packet) Name() string { return "sendmmsg" }

func (p *packet) Close() error { return unix.Close(p.fd) }

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
	_      [4]byte
}

// sender is the state of one Play.
type sender struct {
	packet *packet
	stream Stream
	result Sent

	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	varied   [batchSize][maxFrame]byte
	next     int // the index of the next flood frame
	left     int // flood frames until the next honest one
	honest   int // honest frames sent
}

func (p *packet) Play(ctx context.Context, s Stream) (Sent, error) {
	if err := s.check(); err != nil {
		return Sent{}, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unpin, err := clock.Pin(p.core)
	if err != nil {
		return Sent{}, err
	}
	defer unpin()
	snd := &sender{packet: p, stream: s, left: s.Every}
	snd.result.Honest = make([]int64, len(s.Honest))
	start := clock.Monotonic()
	end := start + int64(s.For)
	due := start // of the next batch
	for ctx.Err() == nil {
		now := clock.Monotonic()
		if now >= end {
			break
		}
		if s.Rate > 0 && now < due {
			pause(due - now)
			continue
		}
		n, err := snd.batch()
		if err != nil {
			return snd.result, err
		}
		if n == 0 {
			if s.Replies == nil {
				break // no frame is left
			}
			pause(int64(burst))
			continue
		}
		if s.Rate > 0 {
			due = max(due, now-int64(burst)) + int64(float64(n)/s.Rate*1e9)
		}
	}
	return snd.result, nil
}

// pause sleeps for a time, but not if that is short.
func pause(ns int64) {
	if ns > int64(200*time.Microsecond) {
		time.Sleep(time.Duration(ns) - 100*time.Microsecond)
	}
}

// batch sends the next frames. An honest frame can be at any position among them:
// at the beginning it would profit from the pause between two calls, in which the
// queue gets shorter. Its time is that of the call, up to a batch too early.
func (s *sender) batch() (n int, err error) {
	room := batchSize
	if s.stream.Rate > 0 { // smaller batches for a slow stream
		room = min(batchSize, 1+int(s.stream.Rate*50e-6))
	}
	flood := s.stream.Flood
	var stamps [batchSize]*int64
	for ; n < room; n++ {
		waiting := s.honest < len(s.stream.Honest)
		if len(flood) == 0 || s.left == 0 {
			select {
			case frame := <-s.stream.Replies:
				s.set(n, frame)
				s.left = s.gap()
				continue
			default:
			}
		}
		switch {
		case waiting && (len(flood) == 0 || s.left == 0):
			s.set(n, s.stream.Honest[s.honest])
			stamps[n] = &s.result.Honest[s.honest]
			s.honest++
			s.left = s.gap()
		case len(flood) > 0:
			s.set(n, s.vary(n, flood[s.next]))
			s.next = (s.next + 1) % len(flood)
			s.left = max(s.left-1, 0)
		default:
			return n, s.send(n, &stamps)
		}
	}
	return n, s.send(n, &stamps)
}

// gap returns the number of flood frames until the next honest one.
func (s *sender) gap() int { return 1 + rand.IntN(max(2*s.stream.Every-1, 1)) }

func (s *sender) set(i int, frame []byte) {
	s.vectors[i] = unix.Iovec{Base: unsafe.SliceData(frame)}
	s.vectors[i].SetLen(len(frame))
	s.messages[i].header.Iov = &s.vectors[i]
	s.messages[i].header.SetIovlen(1)
}

func (s *sender) vary(i int, frame []byte) []byte {
	v := s.stream.Vary
	if v.Mask == [4]byte{} {
		return frame
	}
	copy(s.varied[i][:], frame)
	at := s.varied[i][HeaderSize+v.Offset:]
	random := rand.Uint32() & binary.NativeEndian.Uint32(v.Mask[:])
	binary.NativeEndian.PutUint32(at, binary.NativeEndian.Uint32(v.Base[:])|random)
	return s.varied[i][:len(frame)]
}

// send sends n frames. A frame that found the other end's queue full counts as
// sent: it is lost, as on a real network.
func (s *sender) send(n int, stamps *[batchSize]*int64) error {
	now := clock.Monotonic()
	for _, stamp := range stamps[:n] {
		if stamp != nil {
			*stamp = now
		}
	}
	for at := 0; at < n; {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.packet.fd),
			uintptr(unsafe.Pointer(&s.messages[at])), uintptr(n-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(sent)
			s.result.Frames += uint64(sent)
		case unix.EINTR, unix.EAGAIN:
		case unix.ENOBUFS:
			at++
			s.result.Frames++
		default:
			return fmt.Errorf("send frames: %w", os.NewSyscallError("sendmmsg", errno))
		}
	}
	return nil
}
