package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"sallyport/sessions/gate/relay"
)

// Proxy carries connections to an upstream, byte for byte. It implements
// Handler.
type Proxy struct {
	log    *slog.Logger
	relay  atomic.Pointer[relay.TCP]
	failed atomic.Bool // the last connection to the upstream failed

	pause     chan struct{}  // closed by finish
	pausable  sync.WaitGroup // the connections that it pauses
	mu        sync.Mutex     // locked before those of the service and the enforcer
	moved     []Moved
	finishing bool // no further connection is pausable
	finished  bool // the paused connections have been returned
}

// NewProxy returns a proxy.
func NewProxy(r relay.TCP, log *slog.Logger) *Proxy {
	p := &Proxy{log: log, pause: make(chan struct{})}
	p.Update(r)
	return p
}

// Update changes the upstream for new connections.
func (p *Proxy) Update(r relay.TCP) { p.relay.Store(&r) }

// Serve implements Handler.
func (p *Proxy) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go p.carry(c)
	}
}

func (p *Proxy) carry(c net.Conn) {
	defer c.Close() // the relay has closed the connection below: this removes it from the enforcer
	below := c
	if tracked, ok := c.(*conn); ok {
		below = tracked.Conn
	}
	tcp, ok := below.(*net.TCPConn)
	if !ok {
		// Other connections support neither a half-close nor a reset.
		p.log.Warn("connection rejected: not TCP", "type", fmt.Sprintf("%T", below))
		return
	}
	r, done := p.relayOf(c)
	defer done()
	p.run(c, r, func(r relay.TCP) (relay.Carried, error) { return r.Carry(context.Background(), tcp) })
}

// relayOf returns the relay of a connection. The caller calls done at the end.
func (p *Proxy) relayOf(c net.Conn) (r relay.TCP, done func()) {
	r, done = *p.relay.Load(), func() {}
	tracked, ok := c.(*conn)
	if !ok {
		return r, done
	}
	// An end in order would look like that of a program that has read all and answers
	// nothing.
	r.Reset = tracked.proved
	r.Remote, r.Local = tracked.remote, tracked.local
	p.mu.Lock()
	defer p.mu.Unlock()
	if tracked.movable() && !p.finishing {
		p.pausable.Add(1)
		r.Pause, r.Paused = p.pause, func(pair relay.Pair) bool { return p.take(tracked, pair, r.Upstream) }
		return r, p.pausable.Done
	}
	return r, done
}

// adopts implements adopter.
func (p *Proxy) adopts(u relay.Upstream) error {
	if p.relay.Load().Upstream != u {
		return errors.New("upstream of the service has changed")
	}
	return nil
}

// adopt implements adopter.
func (p *Proxy) adopt(c *conn, pair relay.Pair) {
	go func() {
		defer c.Close()
		r, done := p.relayOf(c)
		defer done()
		p.run(c, r, func(r relay.TCP) (relay.Carried, error) { return r.Resume(context.Background(), pair) })
	}()
}

// run carries a connection.
func (p *Proxy) run(c net.Conn, r relay.TCP, carry func(relay.TCP) (relay.Carried, error)) {
	log := p.audit(c, &r)
	n, err := carry(r)
	if log != nil {
		log.Debug("connection ended", "to_upstream", n.ToUpstream, "to_client", n.ToClient)
	}
	var unreachable *relay.UpstreamError
	failed := errors.As(err, &unreachable)
	if p.failed.Swap(failed) != failed && failed {
		p.log.Warn("upstream unreachable", "upstream", r.Upstream, "error", err)
	}
}

// audit returns a log whose lines map a connection to its client, since the
// upstream sees an address of this host only. nil: the level is higher.
func (p *Proxy) audit(c net.Conn, r *relay.TCP) *slog.Logger {
	if !p.log.Enabled(context.Background(), slog.LevelDebug) {
		return nil
	}
	client := ""
	if tracked, ok := c.(*conn); ok {
		client = tracked.owners.String()
	}
	log := p.log.With("client", client, "address", c.RemoteAddr(), "listen", c.LocalAddr(), "upstream", r.Upstream)
	r.Begins = func(local net.Addr) { log.Debug("connection began", "local", local) }
	return log
}
