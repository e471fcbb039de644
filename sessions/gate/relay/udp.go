package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxFlows is how many flows there are at a time.
	MaxFlows = 1024
	// Idle is how long a flow lives without a datagram either way: the five
	// minutes that RFC 4787 recommends (REQ-5), so that the keepalives of
	// clients behind NAT will do.
	Idle = 5 * time.Minute

	// readBuffer holds the largest datagram.
	readBuffer = 1 << 16
	// waiting is how many datagrams wait while the upstream's name is looked
	// up.
	waiting = 8
	// pause is how long reading rests after a failure.
	pause = 50 * time.Millisecond
)

// UDPConfig is what NewUDP needs.
type UDPConfig struct {
	Upstream   string                // host:port, resolved anew for each flow
	Allows     func(netip.Addr) bool // whether an address may begin a flow; called by Serve
	PerAddress int                   // flows of an address at a time
	Idle       time.Duration         // 0: Idle
	Log        *slog.Logger
}

// UDP carries datagrams between the clients of a socket and an upstream.
type UDP struct {
	cfg      UDPConfig
	upstream atomic.Pointer[string]
	began    time.Time

	mu     sync.Mutex
	flows  map[netip.AddrPort]*flow
	of     map[netip.Addr][]*flow // those of an address
	closed bool
	ended  sync.WaitGroup
}

// NewUDP returns a relay without flows.
func NewUDP(cfg UDPConfig) *UDP {
	if cfg.Idle == 0 {
		cfg.Idle = Idle
	}
	u := &UDP{cfg: cfg, began: time.Now(), flows: map[netip.AddrPort]*flow{}, of: map[netip.Addr][]*flow{}}
	u.SetUpstream(cfg.Upstream)
	return u
}

// SetUpstream changes where flows go from the next one on.
func (u *UDP) SetUpstream(address string) { u.upstream.Store(&address) }

// Serve carries datagrams until the socket is closed; then it returns nil.
// Flows that it began live on until they are cut or idle.
func (u *UDP) Serve(conn *net.UDPConn) error {
	socket, err := newSocket(conn)
	if err != nil {
		return fmt.Errorf("prepare the socket: %w", err)
	}
	buffer := make([]byte, readBuffer)
	for {
		n, client, w, err := socket.read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			time.Sleep(pause)
			continue
		}
		if f := u.flow(socket, client, w); f != nil {
			f.ask(buffer[:n])
		}
	}
}

// flow returns the flow of a client, which begins with this datagram if it may;
// nil: it may not.
func (u *UDP) flow(s *socket, client netip.AddrPort, w way) *flow {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.flows[client]; f != nil {
		f.touch()
		return f
	}
	if u.closed || !u.cfg.Allows(client.Addr()) {
		return nil
	}
	of := u.of[client.Addr()]
	switch {
	case len(of) >= u.cfg.PerAddress:
		// A client that goes through many ports, as some NAT do, needs the new
		// one more than the one that was silent for longest.
		u.end(slices.MinFunc(of, func(a, b *flow) int { return int(a.last.Load() - b.last.Load()) }))
	case len(u.flows) >= MaxFlows:
		return nil // nobody makes room by another's flow
	}
	f := &flow{relay: u, socket: s, client: client, answer: s.control(w), queue: make(chan []byte, waiting)}
	f.touch()
	u.flows[client] = f
	u.of[client.Addr()] = append(u.of[client.Addr()], f)
	u.ended.Add(1)
	go f.run(*u.upstream.Load())
	return f
}

// Cut ends the flows of the addresses that are to go. When it returns they are
// over, and if Allows refuses those addresses, none comes after them.
func (u *UDP) Cut(goes func(netip.Addr) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for client, f := range u.flows {
		if goes(client.Addr()) {
			u.end(f)
		}
	}
}

// Peers returns the addresses that have flows.
func (u *UDP) Peers() (all []netip.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for a := range u.of {
		all = append(all, a)
	}
	return all
}

// Close ends all flows, for good, and waits until nothing of them is left.
func (u *UDP) Close() {
	u.mu.Lock()
	u.closed = true
	for _, f := range u.flows {
		u.end(f)
	}
	u.mu.Unlock()
	u.ended.Wait()
}

// end has a flow end. The caller holds the lock.
func (u *UDP) end(f *flow) {
	if u.flows[f.client] != f {
		return
	}
	delete(u.flows, f.client)
	a := f.client.Addr()
	if left := slices.DeleteFunc(u.of[a], func(other *flow) bool { return other == f }); len(left) == 0 {
		delete(u.of, a)
	} else {
		u.of[a] = left
	}
	f.stop()
}
