package capture

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
)

// helloTime is how long the capturer may take to begin.
const helloTime = 10 * time.Second

// silentTime is the interval in which a capturer sends a message at least, even on a busy
// machine: it sends one every second.
const silentTime = 3 * time.Second

// errCapturerEnded: the process that captures has ended.
var errCapturerEnded = errors.New("the process that captures packets has ended")

// capturerSource receives the packets that a capturer hands over.
type capturerSource struct {
	cfg      Config
	counts   *counts
	capturer *os.File
	conn     syscall.RawConn
	once     sync.Once
	heard    atomic.Uint64 // messages

	mu       sync.Mutex            // guards the fields below, except buffer
	first    uint64                // the number of packets[0]
	packets  []Packet              // the current batch
	answered [udp.BatchSize]bool   // of the current batch
	buffer   [maxBatch + 1]byte    // of run
	space    [udp.BatchSize]Packet // of packets
	payload  [maxAnswer]byte       // of answer
}

// newCapturerSource waits for the capturer to begin. It fails if the capturer captures other
// packets than the configuration requires.
func newCapturerSource(cfg Config, counts *counts) (_ source, err error) {
	s := &capturerSource{cfg: cfg, counts: counts, capturer: cfg.Capturer}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.conn, err = cfg.Capturer.SyscallConn(); err != nil {
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	if err := cfg.Capturer.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	n, err := receiveMessage(s.conn, s.buffer[:])
	if err == nil && n == 0 {
		err = errCapturerEnded
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the process that captures packets: %w", err)
	}
	var its hello
	if err := json.Unmarshal(s.buffer[:n], &its); err != nil {
		return nil, fmt.Errorf("wait for the process that captures packets: %w", err)
	}
	if !its.Equal(cfg.Settings) {
		return nil, fmt.Errorf("the configuration changed while the server started: captured are ports %d to %d, expected %d to %d",
			its.First, its.Last, cfg.First, cfg.Last)
	}
	if cfg.Sandbox != nil {
		cfg.Sandbox(its.Sandbox)
	}
	return s, cfg.Capturer.SetReadDeadline(time.Time{})
}

func (s *capturerSource) run(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer end()
	listening.Go(func() { s.listen(ctx) })
	stop := context.AfterFunc(ctx, func() { s.capturer.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var n int
	var failure error
	// Made once: in the loop, it would be allocated for each batch.
	receive := func(fd uintptr) bool {
		n, failure = unix.Read(int(fd), s.buffer[:])
		return failure != unix.EAGAIN && failure != unix.EINTR
	}
	for {
		err := s.conn.Read(receive)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && failure == nil && n == 0, errors.Is(failure, unix.ECONNRESET):
			return errCapturerEnded
		case err != nil || failure != nil:
			return fmt.Errorf("read packets: %w", errors.Join(err, failure))
		}
		s.heard.Add(1)
		if err := s.deliver(s.buffer[:n]); err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
	}
}

// listen logs when no message comes, as from a capturer that hangs, and when one comes again.
// It waits for two intervals without one: after a time in which this process did not run, the
// first ends before the waiting messages are read.
func (s *capturerSource) listen(ctx context.Context) {
	tick := time.NewTicker(silentTime)
	defer tick.Stop()
	silent := 0
	for heard := s.heard.Load(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.heard.Load()
		if now == heard {
			if silent++; silent == 2 {
				s.cfg.Log.Error("capturer silent; exchanges fail until it continues", "hint", "restart the server if the process does not continue")
			}
			continue
		}
		if silent >= 2 {
			s.cfg.Log.Info("capturer continues")
		}
		heard, silent = now, 0
	}
}

// deliver delivers a batch.
func (s *capturerSource) deliver(message []byte) error {
	s.mu.Lock()
	m, err := parseBatch(message, s.space[:0])
	if err == nil && len(m.packets) > 0 {
		for i := range m.packets {
			m.packets[i].Number = m.first + uint64(i) + 1
		}
		s.first, s.packets, s.answered = m.first, m.packets, [udp.BatchSize]bool{}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.counts.received.Store(m.received)
	s.counts.dropped.Store(m.dropped)
	s.counts.refused.Store(m.refused)
	s.counts.unsent.Store(m.unsent)
	if len(m.packets) > 0 {
		s.cfg.Sink.Take(m.packets)
	}
	return nil
}

// answer answers a packet: the capturer requires its number, which one of the current batch
// need not have. It does not wait if the connection is full.
func (s *capturerSource) answer(p Packet, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Number != 0 {
		return s.answerNumber(p.Number-1, payload)
	}
	for i, q := range s.packets {
		if q.Source == p.Source && q.Destination == p.Destination && !s.answered[i] {
			s.answered[i] = true
			return s.answerNumber(s.first+uint64(i), payload)
		}
	}
	return errors.New("the packet is not of the current batch, or was answered")
}

// answerNumber answers the packet with a number of the capturer. The caller holds mu.
func (s *capturerSource) answerNumber(number uint64, payload []byte) error {
	b := binary.BigEndian.AppendUint64(s.payload[:0], number)
	b = append(b, payload...)
	err := unix.EAGAIN
	failed := s.conn.Control(func(fd uintptr) {
		err, _ = unix.Sendmsg(int(fd), b, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT).(unix.Errno)
	})
	if err != 0 {
		return errors.Join(failed, os.NewSyscallError("sendmsg", err))
	}
	return failed
}

func (s *capturerSource) close() { s.once.Do(func() { s.capturer.Close() }) }
