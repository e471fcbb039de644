package target

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
)

// sinkBatch is the number of datagrams that the sink reads with one system call:
// as many as the server's readers.
const sinkBatch = 64

// SinkConfig configures a bare receiver.
type SinkConfig struct {
	Port   int
	Buffer int // size of the receive buffer in bytes
	Mode   SinkMode
	Device string // of DropAll and ReadRing
}

// SinkMode is how a bare receiver treats datagrams.
type SinkMode string

const (
	Receive   SinkMode = "receive"    // by recvmmsg
	RejectAll SinkMode = "reject-all" // a socket filter refuses them
	// The next ones require the host's root.
	DropAll  SinkMode = "drop-all"  // a program at the driver drops them
	ReadRing SinkMode = "read-ring" // from the rings of the shield, as the server does
)

// Sink is a running bare receiver.
type Sink struct {
	*Process
	in  io.WriteCloser
	out *bufio.Scanner
}

// StartSink starts a bare receiver in a separate process: this program again,
// with arguments that make it call RunSink.
func StartSink(ctx context.Context, core int, arguments ...string) (*Sink, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", arguments...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a sink: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a sink: %w", err)
	}
	p, err := Start(ctx, nil, core, cmd)
	if err != nil {
		return nil, err
	}
	s := &Sink{p, in, bufio.NewScanner(out)}
	_, err = s.Received() // the sink answers when it is ready
	return s, err
}

// Received returns the number of datagrams that the program has received.
func (s *Sink) Received() (uint64, error) {
	if _, err := io.WriteString(s.in, "?\n"); err != nil {
		return 0, fmt.Errorf("read the count of a sink: %w", err)
	}
	if !s.out.Scan() {
		return 0, fmt.Errorf("read the count of a sink: the process has ended\n%s", s.log.text())
	}
	return strconv.ParseUint(s.out.Text(), 10, 64)
}

// Stop ends the receiver.
func (s *Sink) Stop() error {
	s.in.Close()
	<-s.done
	return s.err
}

// RunSink receives datagrams, and answers each line of in with their number so
// far. It returns when in ends.
func RunSink(cfg SinkConfig, in io.Reader, out io.Writer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cfg.Buffer); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.Buffer); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	switch cfg.Mode {
	case DropAll:
		link, err := dropAll(cfg.Device, cfg.Port)
		if err != nil {
			return err
		}
		defer link.Close()
	case RejectAll:
		if err := prefilter.Attach(fd, prefilter.RefuseAll()); err != nil {
			return fmt.Errorf("attach the filter: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: cfg.Port}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	var received atomic.Uint64
	failed := make(chan error, 1)
	if cfg.Mode == ReadRing {
		r, done, err := shieldRing(cfg.Device, cfg.Port)
		if err != nil {
			return err
		}
		defer done()
		go drainRings(r, &received)
	} else {
		go func() { failed <- drain(fd, &received) }()
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		select {
		case err := <-failed:
			return err
		default:
		}
		if _, err := fmt.Fprintln(out, received.Load()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// drain receives datagrams, and does nothing else.
func drain(fd int, received *atomic.Uint64) error {
	runtime.LockOSThread()
	type message struct {
		header unix.Msghdr
		_      uint32 // length
		_      [4]byte
	}
	var messages [sinkBatch]message
	var vectors [sinkBatch]unix.Iovec
	var names [sinkBatch]unix.RawSockaddrInet4
	var data [sinkBatch][64]byte
	for i := range messages {
		vectors[i].Base = &data[i][0]
		vectors[i].SetLen(len(data[i]))
		messages[i].header.Iov = &vectors[i]
		messages[i].header.SetIovlen(1)
		messages[i].header.Name = (*byte)(unsafe.Pointer(&names[i]))
	}
	for {
		for i := range messages {
			messages[i].header.Namelen = unix.SizeofSockaddrInet4
		}
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&messages)), sinkBatch, unix.MSG_WAITFORONE, 0, 0)
		switch errno {
		case 0:
			received.Add(uint64(n))
		case unix.EINTR:
		default:
			return os.NewSyscallError("recvmmsg", errno)
		}
	}
}

// Arguments returns the arguments of the hidden command that calls RunSink.
func (c SinkConfig) Arguments() []string {
	return []string{"sink", strconv.Itoa(c.Port), strconv.Itoa(c.Buffer), string(c.Mode), c.Device}
}

// ParseSink parses the result of Arguments, without the command's name.
func ParseSink(arguments []string) (c SinkConfig, err error) {
	if len(arguments) != 4 {
		return c, fmt.Errorf("expected 4 arguments, got %q", strings.Join(arguments, " "))
	}
	if c.Port, err = strconv.Atoi(arguments[0]); err != nil {
		return c, err
	}
	if c.Buffer, err = strconv.Atoi(arguments[1]); err != nil {
		return c, err
	}
	c.Mode, c.Device = SinkMode(arguments[2]), arguments[3]
	return c, nil
}
