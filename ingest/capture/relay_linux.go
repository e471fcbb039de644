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

// latest is how many packets the relay remembers for answers: more than can wait in
// the connection to the server.
const latest = 16384

// relay hands packets to the server, and sends the server's answers. Its process
// needs no capability, since the sockets are open.
type relay struct {
	server  syscall.RawConn
	sockets *Sockets
	counts  *counts
	stop    context.CancelFunc
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

// Relay captures packets for the process at the other end of a connection, until that
// process closes it or ctx ends: it hands over the packets, and answers a packet for
// that process, once. The connection is a socket of type SOCK_SEQPACKET. Relay takes
// over the connection and the sockets, which must have been opened with the same
// Settings.
func Relay(ctx context.Context, server *os.File, sockets *Sockets, s Settings, log *slog.Logger) error {
	defer server.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	rc, err := server.SyscallConn()
	if err != nil {
		sockets.Close()
		return fmt.Errorf("relay packets: %w", err)
	}
	r := newRelay(rc, sockets, stop)
	source, err := newPacketSource(Config{Settings: s, Sink: r, Log: log}, r.counts, sockets)
	if err != nil {
		return err
	}
	defer source.close()
	hello, err := json.Marshal(s)
	if err == nil {
		err = r.write(hello)
	}
	if err != nil {
		return fmt.Errorf("relay packets: %w", err)
	}
	var g errgroup.Group
	g.Go(func() error {
		defer server.SetDeadline(time.Unix(1, 0)) // ends the waiting reads and writes
		defer stop()
		return source.run(ctx)
	})
	g.Go(func() error {
		defer stop()
		return r.answers(ctx)
	})
	g.Go(func() error {
		r.report(ctx)
		return nil
	})
	return g.Wait()
}

func newRelay(server syscall.RawConn, sockets *Sockets, stop context.CancelFunc) *relay {
	r := &relay{server: server, sockets: sockets, counts: new(counts), stop: stop, buffer: make([]byte, 0, maxBatch)}
	r.sendBatch = func(fd uintptr) bool {
		_, r.sent = unix.Write(int(fd), r.buffer)
		return r.sent != unix.EAGAIN
	}
	return r
}

// report sends the counts once in a while, also if no packet arrives.
func (r *relay) report(ctx context.Context) {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	var sent Stats
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := r.counts.stats(); now != sent {
			sent = now
			if r.write(r.batch(nil).append(nil)) != nil {
				r.stop()
			}
		}
	}
}

// Take implements Sink. It blocks while the connection is full: the kernel then drops
// packets at the queues of the packet sockets, and counts them.
func (r *relay) Take(packets []Packet) {
	r.buffer = r.batch(packets).append(r.buffer[:0])
	if r.server.Write(r.sendBatch) != nil || r.sent != nil {
		r.stop() // the server has ended
	}
}

// batch returns a batch, and remembers its packets.
func (r *relay) batch(packets []Packet) relayed {
	s := r.counts.stats()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := relayed{s.Received, s.Dropped, s.Refused, s.Unsent, r.next, packets}
	for _, p := range packets {
		r.recent[r.next%latest] = unanswered{p, r.next, true}
		r.next++
	}
	return m
}

// take returns a packet that the relay handed over, once.
func (r *relay) take(number uint64) (Packet, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &r.recent[number%latest]
	if !u.valid || u.number != number {
		return Packet{}, false
	}
	u.valid = false
	return u.Packet, true
}

// write writes a message, and waits while the connection is full.
func (r *relay) write(b []byte) (err error) {
	failed := r.server.Write(func(fd uintptr) bool {
		_, err = unix.Write(int(fd), b) // the descriptor does not block
		return err != unix.EAGAIN
	})
	return errors.Join(failed, err)
}

// answers sends the server's answers until it closes the connection. The server may
// be in an attacker's hands: a message that it does not send itself has no effect.
func (r *relay) answers(ctx context.Context) error {
	b := make([]byte, maxAnswer+1)
	for {
		n, err := receiveMessage(r.server, b)
		switch {
		case ctx.Err() != nil || n == 0 && err == nil || errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return fmt.Errorf("read answers: %w", err)
		}
		p, ok := Packet{}, false
		if n > answerHeader && n <= maxAnswer {
			p, ok = r.take(binary.BigEndian.Uint64(b))
		}
		if !ok || r.sockets.raw.send(p, b[answerHeader:n]) != nil {
			r.counts.unsent.Add(1)
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
