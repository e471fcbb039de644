package relay

import (
	"cmp"
	"context"
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
	// MaxFlows is the default number of flows at a time.
	MaxFlows = 1024
	// PerAddress is the default number of flows per address.
	PerAddress = 64
	// Idle is the default time after which a flow without a datagram either way
	// ends: the five minutes that RFC 4787 recommends (REQ-5), so that the
	// keepalives of clients behind NAT are frequent enough.
	Idle = 5 * time.Minute

	// readBuffer is enough for the largest datagram.
	readBuffer = 1 << 16
	// maxWaiting is the number of datagrams of a flow that may wait while its
	// upstream is looked up, of readBuffer bytes in all: clients begin with a
	// burst.
	maxWaiting = 64
	// pause is the pause after a failed read.
	pause = 50 * time.Millisecond
	// retryPause is the time after which a client's port may retry after its
	// upstream was not found.
	retryPause = time.Second
	// logPause is the least time between two lines about an unreachable upstream.
	logPause = 10 * time.Second
)

// UDPConfig configures NewUDP.
type UDPConfig struct {
	Upstream Upstream // host:port, resolved again for new flows, and for those without an answer
	// OwnerUID is the user to whom the upstream must belong, a socket of this host;
	// nil: any user. A flow's upstream is checked when the flow begins, and once a
	// second while its client sends.
	OwnerUID *uint32
	// Allows reports whether an address may begin a flow; IPv4 is never mapped.
	// Serve calls it under the relay's lock: it must be quick, and not call
	// back.
	Allows func(netip.Addr) bool
	// Owners returns the owners of a new flow from an address, which Allows has
	// accepted; nil: none. It is called as Allows is.
	Owners func(netip.Addr) access.Owners
	// Share returns the peer to which a flow of an address is counted: a client
	// may have all addresses of an IPv6 network. nil: the address alone.
	Share      func(netip.Addr) access.Peer
	Shared     *Shared       // other relays, with whose flows MaxFlows and PerAddress count; nil: none
	MaxFlows   int           // at a time; 0: MaxFlows
	PerAddress int           // of an address at a time; 0: PerAddress
	Idle       time.Duration // 0: Idle
	Clock      clock.Clock   // its monotonic time measures idle flows; required
	Log        *slog.Logger  // nil: none

	checkTime, checkAge time.Duration // shorter in tests
}

// UDP carries datagrams between the clients of a socket and an upstream. Its
// methods may be called concurrently.
type UDP struct {
	cfg      UDPConfig
	upstream atomic.Pointer[upstream]
	began    time.Time
	failed   atomic.Bool  // the upstream was not reachable, when last tried
	logged   atomic.Int64 // when that was logged last, since the relay began
	ctx      context.Context
	cancel   context.CancelFunc

	mu         sync.Mutex
	flows      map[key]*flow // that have not ended
	byAddress  map[access.Peer]*addressFlows
	running    int          // goroutines of flows, including ended ones
	count      atomic.Int64 // the length of flows
	closed     bool
	goroutines sync.WaitGroup
}

// NewUDP returns a relay without flows.
func NewUDP(cfg UDPConfig) *UDP {
	cfg.MaxFlows = cmp.Or(cfg.MaxFlows, MaxFlows)
	cfg.PerAddress = cmp.Or(cfg.PerAddress, PerAddress)
	cfg.Idle = cmp.Or(cfg.Idle, Idle)
	cfg.checkTime = cmp.Or(cfg.checkTime, checkTime)
	cfg.checkAge = cmp.Or(cfg.checkAge, checkAge)
	if cfg.Share == nil {
		cfg.Share = func(a netip.Addr) access.Peer { return access.PeerOf(a, access.PrefixHost) }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	u := &UDP{
		cfg: cfg, began: cfg.Clock.Monotonic(),
		flows: map[key]*flow{}, byAddress: map[access.Peer]*addressFlows{},
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.SetUpstream(cfg.Upstream)
	return u
}

// now returns the time since the relay began.
func (u *UDP) now() time.Duration { return u.cfg.Clock.Monotonic().Sub(u.began) }

// SetUpstream changes the upstream for new flows.
func (u *UDP) SetUpstream(to Upstream) {
	if old := u.upstream.Load(); old == nil || old.name != string(to) {
		u.upstream.Store(&upstream{name: string(to), now: u.now, ctx: u.ctx})
	}
}

// Serve relays datagrams until the socket is closed; then it ends the flows
// that it began, and returns nil. It returns an error only before it has read a
// datagram.
func (u *UDP) Serve(conn *net.UDPConn) error { return u.serve(conn, nil) }

func (u *UDP) serve(conn *net.UDPConn, single *singleFlow) error {
	socket, err := newSocket(conn)
	if err != nil {
		return fmt.Errorf("prepare the socket: %w", err)
	}
	socket.single = single
	// Without the socket, answers cannot be sent.
	defer u.endWhere(func(f *flow) bool { return f.socket == socket })
	buffer := make([]byte, readBuffer)
	for {
		n, client, info, err := socket.read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			time.Sleep(pause)
			continue
		}
		if f := u.flowOf(key{socket, client, info}); f != nil {
			f.forward(buffer[:n])
		}
	}
}

// Cut ends flows for which goes returns true, by their address and begin
// (clock.Boot), except those of ServeSingleFlow. When Cut returns they have
// ended, and if Allows refuses those addresses, no new ones begin. It calls
// goes under the relay's lock.
func (u *UDP) Cut(goes func(from netip.Addr, began time.Time) bool) {
	u.endWhere(func(f *flow) bool { return f.socket.single == nil && goes(f.client.Addr(), f.began) })
}

// CutOwned is Cut for flows of which the owners lose the right, by lose.
func (u *UDP) CutOwned(lose func(access.Owners) bool) {
	u.endWhere(func(f *flow) bool { return f.socket.single == nil && lose(f.owners) })
}

// Owners calls f with each known owner of a flow.
func (u *UDP) Owners(f func(wire.Identifier)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, flow := range u.flows {
		flow.owners.Each(f)
	}
}

// Flows returns the number of flows. It takes no lock.
func (u *UDP) Flows() int { return int(u.count.Load()) }

// Peers returns the addresses that have flows, without those of
// ServeSingleFlow.
func (u *UDP) Peers() (all []netip.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := map[netip.Addr]bool{}
	for _, f := range u.flows {
		if a := f.client.Addr(); f.socket.single == nil && !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}

// Close ends all flows, for good, and waits for their goroutines. Serve returns
// when its socket is closed.
func (u *UDP) Close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.endWhere(func(*flow) bool { return true })
	u.cancel()
	u.goroutines.Wait()
}

// logUpstream logs the first failure to reach the upstream after a success, not
// each, and no more than one in logPause.
func (u *UDP) logUpstream(upstream string, err error, ended bool) {
	failed := err != nil
	if ended || u.failed.Swap(failed) == failed || !failed {
		return
	}
	now, last := int64(u.now()), u.logged.Load()
	if (last == 0 || now-last >= int64(logPause)) && u.logged.CompareAndSwap(last, max(now, 1)) {
		u.cfg.Log.Warn("upstream unreachable", "upstream", upstream, "error", err)
	}
}

func (u *UDP) endWhere(which func(*flow) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.flows {
		if which(f) {
			u.endFlow(f)
		}
	}
}
