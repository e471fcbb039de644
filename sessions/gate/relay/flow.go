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

// key identifies a flow. One client may use two of our addresses, or two of our
// sockets, from one port, and expects the answers from each.
type key struct {
	socket *socket
	client netip.AddrPort
	info   pktInfo
}

// flow is the datagrams between one port of a client and the upstream.
type flow struct {
	key
	relay  *UDP
	owners access.Owners
	began  time.Time    // by clock.Boot
	answer []byte       // control message for answers
	last   atomic.Int64 // time of the last datagram, since the relay began
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	up      *sender  // nil: not found yet
	waiting [][]byte // datagrams that came before the upstream was found
	size    int      // total bytes in waiting
	ended   bool
}

func newFlow(u *UDP, k key) *flow {
	f := &flow{key: k, relay: u, began: u.cfg.Clock.Boot(), answer: k.socket.control(k.info)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.touch()
	return f
}

func (f *flow) touch() { f.last.Store(int64(f.relay.now())) }

// deadline returns a deadline after d. Deadlines use the timers of this
// process, and so time.Now.
func deadline(d time.Duration) time.Time { return time.Now().Add(d) }

// left returns how long the flow may stay silent from now on.
func (f *flow) left(now time.Duration) time.Duration {
	return f.relay.cfg.Idle - (now - time.Duration(f.last.Load()))
}

// forward sends a client's datagram to the upstream. It may be lost, as
// datagrams may; forward does not block.
func (f *flow) forward(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
	case f.up != nil:
		f.up.send(b)
	case len(f.waiting) < maxWaiting && f.size+len(b) <= readBuffer:
		f.waiting = append(f.waiting, bytes.Clone(b))
		f.size += len(b)
	}
}

// run finds the upstream, and relays its answers until the flow ends.
func (f *flow) run(upstream string) {
	defer f.relay.finished(f)
	conn, err := f.connect(upstream)
	f.relay.logUpstream(upstream, err, f.ctx.Err() != nil)
	if err != nil {
		// Until then the client's datagrams belong to this flow, and cause no
		// further name lookup.
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
			// ICMP reports that the upstream does not listen; it may listen
			// again later.
			time.Sleep(pause)
		}
	}
}

// connect finds the upstream, and sends it the waiting datagrams.
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
	if err == nil && f.ended {
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
	f.ended = true
	f.waiting = nil
	if f.up != nil {
		f.up.conn.Close()
	}
}
