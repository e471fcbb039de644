package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"sallyport/sessions/syserror"
)

const (
	// The datagrams that a flow stores while the client knocks.
	maxWaiting      = 64
	maxWaitingBytes = 1 << 16

	// brokenPause is the pause before a flow replaces a socket from which it cannot read.
	brokenPause = time.Second
)

// flow carries the datagrams of one local source. Its goroutine opens the service, and
// reads the answers; the goroutine of the local socket sends.
type flow struct {
	flowKey
	server *server
	route  *route
	ctx    context.Context
	end    context.CancelFunc

	mu       sync.Mutex
	up       net.Conn // nil: the client knocks
	n        int      // of the lease with which up was made
	waiting  [][]byte
	bytes    int // of waiting
	last     time.Time
	answered bool
	silence  silence
}

// run carries a flow until it is idle, or ctx ends.
func (f *flow) run() {
	defer f.server.forget(f)
	defer f.end()
	for f.ctx.Err() == nil {
		open, ok := f.server.opener.ready(f.route)
		if !ok {
			var err error
			if open, err = f.server.knock(f.ctx, f.route, Request{}); err != nil {
				return
			}
		}
		up, err := f.dial(open.at)
		if err != nil {
			f.server.failed(f.ctx, f.route, err)
			return
		}
		f.connected(up, open.n)
		stop := context.AfterFunc(f.ctx, func() { up.Close() })
		idle := f.answers(up)
		stop()
		f.disconnected()
		up.Close()
		if idle {
			return
		}
	}
}

func (f *flow) dial(at netip.AddrPort) (net.Conn, error) {
	if !at.IsValid() {
		return nil, errors.New("the address of the service is not known")
	}
	return f.server.cfg.Dial(f.ctx, "udp", at.String())
}

// connected sends the datagrams that wait, and then has a socket for the service.
func (f *flow) connected(up net.Conn, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.waiting {
		write(up, b)
	}
	f.up, f.n, f.waiting, f.bytes = up, n, nil, 0
}

// disconnected removes the socket: datagrams wait until there is another one.
func (f *flow) disconnected() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up = nil
}

// send sends a datagram of the local program, or stores it. A flow whose lease is half
// over, or that gets no answers, causes a knock.
func (f *flow) send(b []byte) {
	f.mu.Lock()
	now := time.Now()
	f.last = now
	up, n := f.up, f.n
	if up == nil {
		if len(f.waiting) < maxWaiting && f.bytes+len(b) <= maxWaitingBytes {
			f.waiting = append(f.waiting, append([]byte(nil), b...))
			f.bytes += len(b)
		}
		f.mu.Unlock()
		return
	}
	silent := f.silence.sent(now)
	f.mu.Unlock()
	write(up, b)
	s := f.server
	switch {
	case silent:
		s.running.Go(func() { f.revive(up, n) })
	case s.opener.renewable(f.route):
		s.running.Go(func() { s.renew(f.ctx, f.route) })
	}
}

// write sends a datagram. The error of an earlier one may keep it from being sent.
func write(up net.Conn, b []byte) {
	if _, err := up.Write(b); syserror.NoPort.In(err) {
		up.Write(b)
	}
}

// answers passes the answers to the local program. It returns true when the flow is
// idle or ended, and false if the socket must be replaced.
func (f *flow) answers(up net.Conn) (over bool) {
	b := make([]byte, maxDatagram)
	for {
		up.SetReadDeadline(f.lastUse().Add(f.server.cfg.Idle))
		n, err := up.Read(b)
		switch {
		case f.ctx.Err() != nil:
			return true
		case err == nil:
			f.answer()
			f.socket.WriteToUDPAddrPort(b[:n], f.from)
		case errors.Is(err, net.ErrClosed):
			return false // revive has closed it
		case errors.Is(err, os.ErrDeadlineExceeded):
			if time.Since(f.lastUse()) >= f.server.cfg.Idle {
				return true
			}
		case syserror.NoPort.In(err):
			f.mu.Lock()
			f.silence.refused(time.Now())
			f.mu.Unlock()
		default:
			sleep(f.ctx, brokenPause)
			return false
		}
	}
}

func (f *flow) lastUse() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *flow) answer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.answered = time.Now(), true
	f.silence.answered()
}

func (f *flow) usefulness() usefulness {
	f.mu.Lock()
	defer f.mu.Unlock()
	return usefulness{f.answered, f.last}
}
