package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config configures a Relay. All fields but Rate and Random are required.
type Config struct {
	Name string // of this gateway
	// Gateways are all gateways that relay to each other, by name, with this one: 2 to
	// MaxGateways. Each address is that of a host, with a port, and belongs to one gateway.
	Gateways map[string]netip.AddrPort
	Key      Key
	Rate     int // packets a second, MinRate to MaxRate; 0: DefaultRate
	// Sink receives the packets of other gateways. The slice is valid until it returns.
	// One goroutine calls it.
	Sink   func([]Packet)
	Now    func() time.Time // of a clock that is never set
	Random io.Reader        // nil: crypto/rand
	Log    *slog.Logger
}

// Validate returns an error if the gateways or the rate are not valid.
func (c Config) Validate() error {
	if _, ok := c.Gateways[c.Name]; !ok {
		return fmt.Errorf("expected one with the name %q of this gateway, got none", c.Name)
	}
	if n := len(c.Gateways); n < 2 || n > MaxGateways {
		return fmt.Errorf("expected 2 to %d gateways, got %d", MaxGateways, n)
	}
	of := map[netip.AddrPort]string{}
	for name, a := range c.Gateways {
		switch other, used := of[a]; {
		case !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Is4In6():
			return fmt.Errorf("expected an address and a port of gateway %s, got %s", name, a)
		case used:
			return fmt.Errorf("the gateways %s and %s have the same address %s", min(name, other), max(name, other), a)
		}
		of[a] = name
	}
	if c.Rate != 0 && (c.Rate < MinRate || c.Rate > MaxRate) {
		return fmt.Errorf("expected %d to %d packets a second, got %d", MinRate, MaxRate, c.Rate)
	}
	return nil
}

// queue is how many datagrams wait until the system sends them.
const queue = 256

// Relay hands packets to other gateways, and takes theirs. Its methods may be called
// concurrently; Run is called once.
type Relay struct {
	cfg     Config
	conn    *net.UDPConn
	out     chan outgoing
	waiting chan struct{} // packets wait for their datagram
	dropped atomic.Uint64
	relayed atomic.Uint64

	mu   sync.Mutex
	node *node // guarded by mu
}

// Open binds the socket. Nothing is received before Run; a caller that does not call Run
// must call Close.
func Open(cfg Config) (*Relay, error) {
	if cfg.Sink == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("relay: Sink, Now and Log are required")
	}
	n, err := cfg.node()
	if err != nil {
		return nil, err
	}
	conn, err := listen(cfg)
	for n := bindTries; errors.Is(err, syscall.EADDRINUSE) && n > 0; n-- {
		time.Sleep(bindPause)
		conn, err = listen(cfg)
	}
	if err != nil {
		return nil, err
	}
	conn.SetReadBuffer(readBuffer) // as much as the system allows
	return &Relay{cfg: cfg, conn: conn, out: make(chan outgoing, queue), waiting: make(chan struct{}, 1), node: n}, nil
}

const (
	readBuffer = 1 << 20
	// bindTries is how often Open tries to bind an address in use again: a Probe may end
	// meanwhile.
	bindTries = int((ProbeTime + Beat) / bindPause)
	bindPause = 50 * time.Millisecond
)

// node makes the node of a valid configuration.
func (c Config) node() (*node, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	n, err := newNode(c.Name, c.Gateways, c.Key, cmp.Or(c.Rate, DefaultRate), cmp.Or(c.Random, rand.Reader))
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return n, nil
}

// listen binds the address of this gateway.
func listen(c Config) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.Gateways[c.Name]))
	if err != nil {
		return nil, &BindError{fmt.Errorf("bind the address of the relay: %w", err)}
	}
	return conn, nil
}

// BindError is the error for an address that this host does not have, or that is used.
type BindError struct{ err error }

func (e *BindError) Error() string { return e.err.Error() }
func (e *BindError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *BindError) Hint() string {
	if errors.Is(e.err, syscall.EACCES) {
		return "a port below 1024 requires CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start: see relay in [fleet]"
	}
	return "the relay address of this gateway must be one of this host, and its UDP port free: see relay in [fleet]"
}

// Close closes the socket. Run closes it too.
func (r *Relay) Close() error { return r.conn.Close() }

// Coordinates reports whether this gateway coordinates the exchanges of a source.
func (r *Relay) Coordinates(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node.coordinates(a)
}

// Offer relays a packet that this gateway has received, unless it coordinates the source;
// then it returns true. It does not block.
func (r *Relay) Offer(p Packet) (coordinates bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	coordinates = r.node.offer(p, r.cfg.Now())
	r.queueOutgoing()
	if !coordinates {
		select {
		case r.waiting <- struct{}{}:
		default:
		}
	}
	return coordinates
}

// Know records that an exchange of an address was verified here: while strangers use up the
// limits, packets of the address are still relayed, by each gateway. It does not block.
func (r *Relay) Know(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node.know(a, r.cfg.Now())
}

// Known reports whether an exchange of an address was verified lately, here or elsewhere.
func (r *Relay) Known(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node.reserve.find(sourceOf(a)) != nil
}

// queueOutgoing queues the node's datagrams. A full queue drops them. The caller holds mu.
func (r *Relay) queueOutgoing() {
	for _, o := range r.node.outgoing {
		select {
		case r.out <- o:
		default:
			r.dropped.Add(uint64(o.packets))
		}
	}
	r.node.outgoing = r.node.outgoing[:0]
}

// Run relays until ctx ends, and closes the socket.
func (r *Relay) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// Of the same context that read looks at: it has ended when the socket is closed.
	stop := context.AfterFunc(ctx, func() { r.conn.Close() })
	defer stop()
	defer r.conn.Close()
	g.Go(func() error { return r.read(ctx) })
	g.Go(func() error {
		r.write(ctx)
		return nil
	})
	g.Go(func() error {
		r.beat(ctx)
		return nil
	})
	g.Go(func() error {
		r.flush(ctx)
		return nil
	})
	return g.Wait()
}

// read passes the packets of others to the sink.
func (r *Relay) read(ctx context.Context) error {
	b := make([]byte, MaxDatagram+1)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("relay: read: %w", err)
		case err != nil: // an ICMP error of an earlier datagram, or one that is too long
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		r.mu.Lock()
		packets := r.node.receive(from, b[:n], r.cfg.Now())
		changed := r.changes()
		r.queueOutgoing()
		r.mu.Unlock()
		r.log(changed)
		if len(packets) > 0 {
			r.cfg.Sink(packets)
		}
	}
}

// write sends the datagrams of the queue.
func (r *Relay) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-r.out:
			if _, err := r.conn.WriteToUDPAddrPort(o.b, o.to); err != nil {
				r.dropped.Add(uint64(o.packets))
			} else {
				r.relayed.Add(uint64(o.packets))
			}
		}
	}
}

// beat makes the regular datagrams.
func (r *Relay) beat(ctx context.Context) {
	tick := time.NewTicker(Beat)
	defer tick.Stop()
	for {
		r.mu.Lock()
		r.node.beat(r.cfg.Now())
		changed := r.changes()
		r.queueOutgoing()
		r.mu.Unlock()
		r.log(changed)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// flush sends packets that have waited for Delay.
func (r *Relay) flush(ctx context.Context) {
	timer := time.NewTimer(Delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.waiting:
		}
		timer.Reset(Delay)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.mu.Lock()
		r.node.flush()
		r.queueOutgoing()
		r.mu.Unlock()
	}
}

// changes takes the changes of the node. The caller holds mu.
func (r *Relay) changes() []change {
	changed := r.node.changed
	r.node.changed = nil
	return changed
}

func (r *Relay) log(all []change) {
	for _, c := range all {
		if c.heard {
			r.cfg.Log.Info("relay hears a gateway", "gateway", c.name)
		} else {
			r.cfg.Log.Warn("relay no longer hears a gateway", "gateway", c.name)
		}
	}
}

// Hears returns how many of the other gateways this one hears, and how many there are.
func (r *Relay) Hears() (heard, of int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := r.node.hears(); s != 0; s &= s - 1 {
		heard++
	}
	return heard, len(r.node.peers) - 1
}

// Stats returns the counts.
func (r *Relay) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.node.stats
	s.Relayed, s.Dropped = r.relayed.Load(), r.dropped.Load()
	return s
}
