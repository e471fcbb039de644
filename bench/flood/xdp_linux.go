package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sallyport/bench/clock"
)

// liveFrames makes a test run of an XDP program send the frames that it redirects
// (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18).
const liveFrames = 1 << 1

// xdp plays streams inside the kernel: a program writes each frame and controls
// the rate, in one long system call.
type xdp struct {
	index int
	core  int
}

// NewXDP returns a Generator that sends over an interface, from one core. It
// requires CAP_BPF and CAP_NET_ADMIN in the initial user namespace; the error
// wraps that of the missing one. Play must run in the interface's network
// namespace. A veth accepts such frames only if its other end has a receive queue.
func NewXDP(index, core int) (Generator, error) {
	x := &xdp{index, core}
	// A very short run checks that this host supports it.
	s := Stream{Flood: [][]byte{make([]byte, HeaderSize)}, For: time.Microsecond}
	if _, err := x.Play(context.Background(), s); err != nil {
		return nil, fmt.Errorf("send live frames from XDP: %w", err)
	}
	return x, nil
}

func (x *xdp) Name() string { return "XDP live frames" }

func (x *xdp) Close() error { return nil }

// progress is the program's state, one value in a map.
type progress struct {
	Next     uint64 // when the next frame is due, in ticks of the monotonic clock
	Interval uint64 // between two frames, in ticks; 0: none
	Until    uint64 // nanoseconds on the monotonic clock
	Left     uint64 // flood frames until the next honest one
	Every    uint64
	Flood    uint64 // the index of the next flood frame
	Floods   uint64 // their number
	Honest   uint64 // the index of the next honest frame
	Honests  uint64 // their number
	Frames   uint64 // sent
}

// ticks is the number of ticks in a nanosecond: at high rates, a frame has only
// few nanoseconds.
const ticks = 64

func (x *xdp) Play(ctx context.Context, s Stream) (Sent, error) {
	if err := s.check(); err != nil {
		return Sent{}, err
	}
	if s.Replies != nil {
		return Sent{}, errors.New("stream: the kernel's generator sends no replies")
	}
	size := s.longest()
	maps, err := mapsOf(s, size)
	if err != nil {
		return Sent{}, err
	}
	defer maps.close()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "flood", Type: ebpf.XDP, License: "GPL", Instructions: maps.program(s, x.index, size),
	})
	if err != nil {
		return Sent{}, fmt.Errorf("load the generator: %w", err)
	}
	defer program.Close()

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unpin, err := clock.Pin(x.core)
	if err != nil {
		return Sent{}, err
	}
	defer unpin()
	now := uint64(clock.Monotonic())
	p := progress{
		Next: now * ticks, Until: now + uint64(s.For), Every: uint64(s.Every), Left: uint64(s.Every),
		Floods: uint64(len(s.Flood)), Honests: uint64(len(s.Honest)),
	}
	if s.Rate > 0 {
		p.Interval = uint64(ticks * 1e9 / s.Rate)
	}
	if err := maps.progress.Put(uint32(0), p); err != nil {
		return Sent{}, fmt.Errorf("start the generator: %w", err)
	}
	if err := runUntil(ctx, program, make([]byte, size), s.For); err != nil {
		return Sent{}, err
	}
	return maps.result(s)
}

// runUntil runs a program repeatedly in one system call, until a time has passed
// or ctx ends. A signal ends the call. Run of package ebpf is not used, because it
// continues after a signal.
func runUntil(ctx context.Context, program *ebpf.Program, frame []byte, d time.Duration) error {
	runContext := make([]byte, 24) // struct xdp_md
	binary.NativeEndian.PutUint32(runContext[4:], uint32(len(frame)))
	attributes := struct {
		program, _, size, _   uint32
		data, _               uint64
		repeat, _             uint32
		contextSize, _        uint32
		context, _            uint64
		flags, cpu, batch, _1 uint32
	}{
		program: uint32(program.FD()), size: uint32(len(frame)),
		data:   uint64(uintptr(unsafe.Pointer(unsafe.SliceData(frame)))),
		repeat: 1 << 31, contextSize: uint32(len(runContext)),
		context: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(runContext)))),
		flags:   liveFrames, batch: batchSize,
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var over atomic.Bool
	interrupted := make(chan struct{})
	thread := unix.Gettid()
	go func() {
		defer close(interrupted)
		<-ctx.Done()
		for !over.Load() {
			// Go's runtime uses this signal to preempt threads, so it is harmless.
			unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
			time.Sleep(time.Millisecond)
		}
	}()
	var errno unix.Errno
	for ctx.Err() == nil && (errno == 0 || errno == unix.EINTR) {
		_, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN,
			uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	}
	over.Store(true)
	cancel()
	<-interrupted
	runtime.KeepAlive(frame)
	runtime.KeepAlive(runContext)
	if errno != 0 && !errors.Is(errno, unix.EINTR) {
		return fmt.Errorf("run the generator: %w", os.NewSyscallError("bpf", errno))
	}
	return nil
}
