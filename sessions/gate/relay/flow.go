package relay

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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

	checked  atomic.Int64          // when the owner of the upstream was checked, since the relay began
	disowned atomic.Pointer[error] // why the upstream may no longer be used

	mu      sync.Mutex
	up      *sender  // nil: not found yet
	waiting [][]byte // datagrams that came before the upstream was found
	size    int      // total bytes in waiting
	sent    int64    // bytes to the upstream
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
	case f.up != nil && !f.owned(f.up.conn):
		f.ended = true
		f.up.conn.Close() // run ends
	case f.up != nil:
		f.sent += int64(len(b))
		f.up.send(b)
	case len(f.waiting) < maxWaiting && f.size+len(b) <= readBuffer:
		f.sent += int64(len(b))
		f.waiting = append(f.waiting, bytes.Clone(b))
		f.size += len(b)
	}
}

// run finds the upstream, and relays its answers until the flow ends.
func (f *flow) run(u *upstream) {
	defer f.relay.finished(f)
	r := &route{flow: f, upstream: u}
	if err := r.begin(); err != nil {
		f.relay.logUpstream(u.name, err, f.ctx.Err() != nil)
		// Until then the client's datagrams belong to this flow, and cause no
		// further name lookup.
		select {
		case <-f.ctx.Done():
		case <-time.After(retryPause):
		}
		return
	}
	r.relayAnswers()
	if err := f.disowned.Load(); err != nil {
		f.relay.logUpstream(u.name, *err, f.ctx.Err() != nil)
	}
	r.logEnd()
}

// connect sends the waiting datagrams to an address, and from now on all others.
// Keep: the datagrams continue to wait for a further address.
func (f *flow) connect(to netip.AddrPort, keep bool) (*net.UDPConn, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	f.checked.Store(int64(f.relay.now()))
	up, err := newSender(conn)
	if err == nil {
		err = f.relay.checkOwner(conn)
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
	if f.up != nil {
		f.up.conn.Close()
	}
	f.up = up
	for _, b := range f.waiting {
		f.up.send(b)
	}
	if !keep {
		f.waiting = nil
	}
	return conn, nil
}

// forget releases the waiting datagrams.
func (f *flow) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = nil
}

// sendError returns the error of a datagram that was sent, once.
func (f *flow) sendError() error {
	f.mu.Lock()
	up := f.up
	f.mu.Unlock()
	if errno := up.failed.Swap(0); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// drainErrors empties the socket's queue of ICMP errors.
func (f *flow) drainErrors() {
	f.mu.Lock()
	up := f.up
	f.mu.Unlock()
	up.drainErrors()
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
