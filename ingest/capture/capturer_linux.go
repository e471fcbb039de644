package capture

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// latest is how many packets the capturer remembers for answers: more than can wait in
// the connection to the server.
const latest = 16384

// capturer hands packets to the server, and sends the server's answers. Its process
// needs no capability, since the sockets are open.
type capturer struct {
	server  syscall.RawConn
	sockets *Sockets
	counts  *counts
	stop    context.CancelFunc
	log     *slog.Logger
	// Of Take, which one goroutine at a time calls. The function is made once: for
	// each batch, it would be allocated.
	buffer    []byte
	sendBatch func(fd uintptr) bool
	sent      error

	mu     sync.Mutex // guards the fields below
	next   uint64     // the number of the next packet
	recent [latest]unanswered
}

// unanswered is a packet that may be answered once.
type unanswered struct {
	Packet
	number uint64
	valid  bool
}

// Serve captures packets for the process at the other end of a connection, until that
// process closes it or ctx ends: it hands over the packets, and answers a packet for
// that process, once. The connection is a socket of type SOCK_SEQPACKET. Serve takes
// over the connection and the sockets, which must have been opened with the same
// Settings. Sandbox is what is in force in this process, as JSON for the server.
func Serve(ctx context.Context, server *os.File, sockets *Sockets, s Settings, sandbox json.RawMessage, log *slog.Logger) error {
	defer server.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	rc, err := server.SyscallConn()
	if err != nil {
		sockets.Close()
		return fmt.Errorf("capture packets: %w", err)
	}
	c := newCapturer(rc, sockets, stop)
	c.log = log
	source, err := newPacketSource(Config{Settings: s, Sink: c, Log: log}, c.counts, sockets)
	if err != nil {
		return err
	}
	defer source.close()
	text, err := json.Marshal(hello{s, sandbox})
	if err == nil {
		err = c.write(text)
	}
	switch {
	case errors.Is(err, unix.EPIPE): // the server has ended before it began
		return nil
	case err != nil:
		return fmt.Errorf("capture packets: %w", err)
	}
	var g errgroup.Group
	g.Go(func() error {
		defer server.SetDeadline(time.Unix(1, 0)) // ends the waiting reads and writes
		defer stop()
		return source.run(ctx)
	})
	g.Go(func() error {
		defer stop()
		return c.answers(ctx)
	})
	g.Go(func() error {
		c.report(ctx)
		return nil
	})
	return g.Wait()
}

func newCapturer(server syscall.RawConn, sockets *Sockets, stop context.CancelFunc) *capturer {
	c := &capturer{server: server, sockets: sockets, counts: new(counts), stop: stop, buffer: make([]byte, 0, maxBatch)}
	c.sendBatch = func(fd uintptr) bool {
		_, c.sent = unix.Write(int(fd), c.buffer)
		return c.sent != unix.EAGAIN
	}
	return c
}

// report sends the counts once in a while, also if no packet arrives: the server notices by
// that whether this process runs.
func (c *capturer) report(ctx context.Context) {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c.write(c.batch(nil).append(nil)) != nil {
			c.stop()
		}
	}
}

// Take implements Sink. It blocks while the connection is full: the kernel then drops
// packets at the queues of the packet sockets, and counts them.
func (c *capturer) Take(packets []Packet) {
	c.buffer = c.batch(packets).append(c.buffer[:0])
	if c.server.Write(c.sendBatch) != nil || c.sent != nil {
		c.stop() // the server has ended
	}
}

// batch returns a batch, and remembers its packets.
func (c *capturer) batch(packets []Packet) batchMessage {
	s := c.counts.stats()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := batchMessage{s.Received, s.Dropped, s.Refused, s.Unsent, c.next, packets}
	for _, p := range packets {
		c.recent[c.next%latest] = unanswered{p, c.next, true}
		c.next++
	}
	return m
}

// take returns a packet that the capturer handed over, once.
func (c *capturer) take(number uint64) (Packet, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := &c.recent[number%latest]
	if !u.valid || u.number != number {
		return Packet{}, false
	}
	u.valid = false
	return u.Packet, true
}

// write writes a message, and waits while the connection is full.
func (c *capturer) write(b []byte) (err error) {
	failed := c.server.Write(func(fd uintptr) bool {
		_, err = unix.Write(int(fd), b) // the descriptor does not block
		return err != unix.EAGAIN
	})
	return errors.Join(failed, err)
}

// answers sends the server's answers until it closes the connection. The server may
// be in an attacker's hands: a message that it does not send itself has no effect.
func (c *capturer) answers(ctx context.Context) error {
	b := make([]byte, maxAnswer+1)
	for {
		n, err := receiveMessage(c.server, b)
		switch {
		case ctx.Err() != nil || n == 0 && err == nil || errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return fmt.Errorf("read answers: %w", err)
		}
		p, ok := Packet{}, false
		if n > answerHeader && n <= maxAnswer {
			p, ok = c.take(binary.BigEndian.Uint64(b))
		}
		if !ok {
			c.log.Warn("request refused", "error", "no such packet waits for an answer")
		}
		if !ok || c.sockets.raw.send(p, b[answerHeader:n]) != nil {
			c.counts.unsent.Add(1)
		}
	}
}

// receiveMessage waits for a message; 0: the other end has closed the connection.
func receiveMessage(from syscall.RawConn, b []byte) (n int, err error) {
	failed := from.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), b) // the descriptor does not block
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return n, errors.Join(failed, err)
}
