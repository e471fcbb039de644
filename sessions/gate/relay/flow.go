package relay

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/sessions/gate/access"
)

// key tells flows apart. One client may ask two of our addresses, or two of our
// sockets, from one port, and expects the answers from each.
type key struct {
	socket *socket
	client netip.AddrPort
	way    way
}

// flow is what goes between one port of a client and the upstream.
type flow struct {
	key
	relay  *UDP
	owned  access.Owners
	began  time.Time    // as clock.Boot has it
	answer []byte       // the control message with which answers leave
	last   atomic.Int64 // when a datagram came, since the relay began
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	up      *sender  // nil: not found yet
	waiting [][]byte // what came before the upstream was found
	size    int      // of what waits
	over    bool
}

func newFlow(u *UDP, k key) *flow {
	f := &flow{key: k, relay: u, began: u.cfg.Clock.Boot(), answer: k.socket.control(k.way)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.touch()
	return f
}

func (f *flow) touch() { f.last.Store(int64(f.relay.now())) }

// deadline is after so much time: deadlines go by the timers of this process,
// and so by its own clock.
func deadline(d time.Duration) time.Time { return time.Now().Add(d) }

// left is how long the flow may stay silent from now on.
func (f *flow) left(now time.Duration) time.Duration {
	return f.relay.cfg.Idle - (now - time.Duration(f.last.Load()))
}

// ask sends what the client said. It may be lost, as datagrams may; it does not
// block.
func (f *flow) ask(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.over:
	case f.up != nil:
		f.up.send(b)
	case len(f.waiting) < maxWaiting && f.size+len(b) <= readBuffer:
		f.waiting = append(f.waiting, bytes.Clone(b))
		f.size += len(b)
	}
}

// run finds the upstream, and carries its answers until the flow is over.
func (f *flow) run(upstream string) {
	defer f.relay.finished(f)
	conn, err := f.connect(upstream)
	f.relay.reached(upstream, err, f.ctx.Err() != nil)
	if err != nil {
		// The client's next datagrams find this flow, and ask no name server.
		select {
		case <-f.ctx.Done():
		case <-time.After(retryPause):
		}
		return
	}
	buffer := make([]byte, readBuffer)
	for {
		n, err := conn.Read(buffer)
		switch {
		case err == nil:
			f.touch()
			f.socket.write(buffer[:n], f.client, f.answer)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			left := f.left(f.relay.now())
			if left <= 0 || conn.SetReadDeadline(deadline(left)) != nil {
				return
			}
		default:
			// ICMP says that nobody is there: he may come back.
			time.Sleep(pause)
		}
	}
}

// connect finds the upstream, and sends it what has come meanwhile.
func (f *flow) connect(upstream string) (*net.UDPConn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(f.ctx, "udp", upstream)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UDPConn)
	up, err := newSender(conn)
	if err == nil {
		err = conn.SetReadDeadline(deadline(f.relay.cfg.Idle))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.over {
		err = net.ErrClosed
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	f.up = up
	for _, b := range f.waiting {
		f.up.send(b)
	}
	f.waiting = nil
	return conn, nil
}

// stop ends the flow, without waiting for run.
func (f *flow) stop() {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.waiting = nil
	if f.up != nil {
		f.up.conn.Close()
	}
}
