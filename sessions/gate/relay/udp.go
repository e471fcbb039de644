package relay

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

const (
	// MaxFlows is how many flows there are at a time.
	MaxFlows = 1024
	// PerAddress is how many of them are one address's.
	PerAddress = 64
	// Idle is how long a flow lives without a datagram either way: the five
	// minutes that RFC 4787 recommends (REQ-5), so that the keepalives of
	// clients behind NAT will do.
	Idle = 5 * time.Minute

	// readBuffer holds the largest datagram.
	readBuffer = 1 << 16
	// maxWaiting is how many datagrams of a flow wait for its upstream to be
	// found, of readBuffer bytes in all: clients begin with a burst.
	maxWaiting = 64
	// pause is how long reading rests after a failure.
	pause = 50 * time.Millisecond
	// retryPause is when a client's port that found no upstream may try anew.
	retryPause = time.Second
)

// UDPConfig is what NewUDP needs.
type UDPConfig struct {
	Upstream string // host:port, resolved anew for each flow
	// Allows is whether an address may begin a flow; IPv4 is never mapped. Serve
	// calls it under the relay's lock: it must be quick, and not call back.
	Allows func(netip.Addr) bool
	// Owners is whose a flow from an address is that begins, which Allows has let
	// in; nil: nobody's. It is called as Allows is.
	Owners func(netip.Addr) access.Owners
	// Share is as whose an address is counted: a client may have all those of an
	// IPv6 network. nil: its own.
	Share      func(netip.Addr) access.Peer
	MaxFlows   int           // at a time; 0: MaxFlows
	PerAddress int           // of an address at a time; 0: PerAddress
	Idle       time.Duration // 0: Idle
	Clock      clock.Clock   // flows are idle by its monotonic time; required
	Log        *slog.Logger  // nil: none
}

// UDP carries datagrams between the clients of a socket and an upstream. Its
// methods may be called concurrently.
type UDP struct {
	cfg      UDPConfig
	upstream atomic.Pointer[string]
	began    time.Time
	failed   atomic.Bool // there was no way to the upstream, when last sought

	mu      sync.Mutex
	flows   map[key]*flow // that are not over
	shares  map[access.Peer]*share
	running int // goroutines of flows, over or not
	closed  bool
	ended   sync.WaitGroup
}

// NewUDP returns a relay without flows.
func NewUDP(cfg UDPConfig) *UDP {
	cfg.MaxFlows = cmp.Or(cfg.MaxFlows, MaxFlows)
	cfg.PerAddress = cmp.Or(cfg.PerAddress, PerAddress)
	cfg.Idle = cmp.Or(cfg.Idle, Idle)
	if cfg.Share == nil {
		cfg.Share = func(a netip.Addr) access.Peer { return access.PeerOf(a, access.PrefixHost) }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	u := &UDP{cfg: cfg, began: cfg.Clock.Monotonic(), flows: map[key]*flow{}, shares: map[access.Peer]*share{}}
	u.SetUpstream(cfg.Upstream)
	return u
}

// now is the time since the relay began.
func (u *UDP) now() time.Duration { return u.cfg.Clock.Monotonic().Sub(u.began) }

// SetUpstream changes where flows go from the next one on.
func (u *UDP) SetUpstream(address string) { u.upstream.Store(&address) }

// Serve carries datagrams until the socket is closed; then it ends the flows
// that it began, and returns nil. It fails only before it has read any.
func (u *UDP) Serve(conn *net.UDPConn) error { return u.serve(conn, nil) }

func (u *UDP) serve(conn *net.UDPConn, o *one) error {
	socket, err := newSocket(conn)
	if err != nil {
		return fmt.Errorf("prepare the socket: %w", err)
	}
	socket.one = o
	// Answers could not leave any more.
	defer u.endThose(func(f *flow) bool { return f.socket == socket })
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
		if f := u.flow(key{socket, client, w}); f != nil {
			f.ask(buffer[:n])
		}
	}
}

// Cut ends the flows that are to go, by their address and when they began
// (clock.Boot), but for those of
// ServeOne. When it returns they are over, and if Allows refuses those
// addresses, none comes after them. It calls goes under the relay's lock.
func (u *UDP) Cut(goes func(from netip.Addr, began time.Time) bool) {
	u.endThose(func(f *flow) bool { return f.socket.one == nil && goes(f.client.Addr(), f.began) })
}

// CutOwned is Cut for the flows whose owners lose them.
func (u *UDP) CutOwned(lose func(access.Owners) bool) {
	u.endThose(func(f *flow) bool { return f.socket.one == nil && lose(f.owned) })
}

// Owners calls f with the clients whose the flows are.
func (u *UDP) Owners(f func(wire.Identifier)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, of := range u.flows {
		of.owned.Each(f)
	}
}

// Flows is how many flows there are.
func (u *UDP) Flows() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.flows)
}

// Peers returns the addresses that have flows, but for those of ServeOne.
func (u *UDP) Peers() (all []netip.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := map[netip.Addr]bool{}
	for _, f := range u.flows {
		if a := f.client.Addr(); f.socket.one == nil && !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// Close ends all flows, for good, and waits until nothing of them is left.
// Serve returns when its socket is closed.
func (u *UDP) Close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.endThose(func(*flow) bool { return true })
	u.ended.Wait()
}

// reached logs when the way to the upstream is lost, not each time it is sought.
func (u *UDP) reached(upstream string, err error, over bool) {
	if over {
		return
	}
	if failed := err != nil; u.failed.Swap(failed) != failed && failed {
		u.cfg.Log.Debug("upstream unreachable", "upstream", upstream, "error", err)
	}
}

func (u *UDP) endThose(which func(*flow) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.flows {
		if which(f) {
			u.end(f)
		}
	}
}
