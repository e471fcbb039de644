package runner

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions"
)

const (
	// maxLine is the size of the longest line of a program in the log, in bytes. The
	// rest of a longer line is dropped.
	maxLine = 1024
	// readRate is how many bytes of a stream are read a second at most. A program that
	// writes more waits, as at a slow terminal.
	readRate = 1 << 20
	// readSize is how many bytes are read at a time.
	readSize = 16 << 10
	// drainTime is how long a stream is read after the last process of a run: another
	// process may have a copy of it, and keep it open.
	drainTime = 100 * time.Millisecond
)

// outputLimit bounds the lines of a stream in the log.
var outputLimit = sessions.Limit{Pause: 100 * time.Millisecond, Burst: 100}

// output writes a stream of a program into the log, line by line. It belongs to one
// goroutine.
type output struct {
	from    *os.File // does not block
	log     *slog.Logger
	now     func() time.Time // of a clock that is never set
	dropped *atomic.Uint64   // lines, of all streams of the runner
	bucket  sessions.Bucket
	line    []byte // the begin of a line
	cut     int    // bytes of the line that were dropped
	left    uint64 // lines dropped since the last one in the log
}

// copy reads the stream until it ends, or for drainTime after ctx has ended; then it
// reads what is left in the pipe.
func (o *output) copy(ctx context.Context) {
	defer o.from.Close()
	stop := context.AfterFunc(ctx, func() { o.from.SetReadDeadline(time.Now().Add(drainTime)) })
	defer stop()
	b := make([]byte, readSize)
	for {
		n, err := o.from.Read(b)
		o.take(b[:n])
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				o.drain(b)
			}
			break
		}
		if n < readSize/8 {
			continue // a program that writes little is not delayed
		}
		select {
		case <-time.After(time.Duration(n) * time.Second / readRate):
		case <-ctx.Done():
		}
	}
	if len(o.line) > 0 {
		o.write()
	}
	if o.left > 0 {
		o.log.Warn("program output dropped", "left_out", o.left)
	}
}

// drain takes what the pipe has, and does not wait: this process may have had no time
// for the last lines of the program. A process that keeps the pipe open, and writes,
// adds at most what the pipe can hold.
func (o *output) drain(b []byte) {
	raw, err := o.from.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		for n := 0; err == nil && size > 0; size -= n {
			if n, err = unix.Read(int(fd), b); n <= 0 {
				return
			}
			o.take(b[:n])
		}
	})
}

// take takes bytes of the stream.
func (o *output) take(b []byte) {
	for len(b) > 0 {
		text, rest, whole := bytes.Cut(b, []byte("\n"))
		room := min(len(text), maxLine-len(o.line))
		o.line, o.cut = append(o.line, text[:room]...), o.cut+len(text)-room
		if whole {
			o.write()
		}
		b = rest
	}
}

// write writes the line, or drops and counts it.
func (o *output) write() {
	text, cut := string(bytes.TrimSuffix(o.line, []byte("\r"))), o.cut
	o.line, o.cut = o.line[:0], 0
	if !o.bucket.Take(o.now(), outputLimit) {
		o.left++
		o.dropped.Add(1)
		return
	}
	log := o.log
	if cut > 0 {
		log = log.With("truncated", cut)
	}
	if o.left > 0 {
		log = log.With("left_out", o.left)
		o.left = 0
	}
	log.Info("program output", "text", text) // the log escapes control characters
}
