package gate

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/relay"
	"sallyport/sessions/gate/sockfilter"
	"sallyport/verify/wire"
)

// lingerPause is the time between two checks of a socket that is only open for
// earlier flows.
const lingerPause = 5 * time.Second

// UDPConfig configures NewUDP.
type UDPConfig struct {
	Listen     string          // host:port
	Filtered   bool            // as in TCPConfig
	PrefixLen4 int             // as in TCPConfig
	PrefixLen6 int             // as in TCPConfig
	Relay      relay.UDPConfig // without Allows, Share and Clock
	Clock      clock.Clock     // as in TCPConfig
	Log        *slog.Logger
}

// UDP is the enforcer of a UDP upstream. It never answers a stranger, even
// without a filter; the kernel's filter saves the work of reading strangers'
// datagrams.
type UDP struct {
	cfg    UDPConfig
	relay  *relay.UDP
	linger time.Duration // lingerPause; shorter in tests

	inMu     sync.RWMutex // locked last, even while the relay holds its lock
	admitted access.Set

	mu            sync.Mutex
	lingering     []netip.Addr  // no longer admitted, but with flows that continue
	heldPort      *heldport.UDP // nil: not bound yet
	conn          *net.UDPConn  // nil: no socket
	filter        filterState
	timer         *time.Timer       // rechecks lingering peers
	ports         map[*udpPort]bool // random ports, waiting or with their flow
	addressFailed bool              // as logged last
	closed        bool
}

// NewUDP returns a closed enforcer.
func NewUDP(cfg UDPConfig) *UDP {
	u := &UDP{cfg: cfg, linger: lingerPause, ports: map[*udpPort]bool{}}
	cfg.Relay.Clock = cfg.Clock
	cfg.Relay.Allows, cfg.Relay.Owners = u.allows, u.enter
	cfg.Relay.Share = func(a netip.Addr) access.Peer { return access.PeerIn(a, cfg.PrefixLen4, cfg.PrefixLen6) }
	u.relay = relay.NewUDP(cfg.Relay)
	return u
}

// Flows returns the number of flows. It takes no lock.
func (u *UDP) Flows() int { return u.relay.Flows() }

// Prepare binds the port, and makes a filtered enforcer listen: see
// TCP.Prepare.
func (u *UDP) Prepare() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	if u.heldPort != nil && u.heldPort.Stale() {
		u.closeSocket()
		u.heldPort.Close()
		u.heldPort = nil
	}
	if u.heldPort != nil {
		u.updateAddresses()
	} else if err := u.bind(); err != nil {
		return err
	}
	if u.conn != nil || !u.cfg.Filtered && u.admitted.Len() == 0 {
		return nil
	}
	if err := u.listen(); err != nil {
		return err
	}
	u.reconcile()
	return nil
}

// bind binds the port.
func (u *UDP) bind() (err error) {
	if u.heldPort != nil {
		return nil
	}
	if u.heldPort, err = heldport.BindUDP(u.cfg.Listen, sockfilter.DenyAll); err != nil {
		u.heldPort = nil
	}
	return err
}

// updateAddresses binds the port at addresses that the host has got. An error
// concerns only these.
func (u *UDP) updateAddresses() {
	err := u.heldPort.UpdateAddresses()
	if err != nil && !u.addressFailed {
		u.cfg.Log.Error("failed to reserve the service port at a new address", "listen", u.cfg.Listen, "error", err)
	}
	u.addressFailed = err != nil
}

// Update changes the upstream for new flows.
func (u *UDP) Update(to relay.Upstream) { u.relay.SetUpstream(to) }

// Apply implements access.Enforcer. It may be called concurrently.
func (u *UDP) Apply(changes []access.Change) []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return access.Failed(changes, ErrClosed)
	}
	u.inMu.Lock()
	tx := u.admitted.Begin(changes)
	u.inMu.Unlock()
	matches := u.listenFor(tx)
	if gone, since := tx.Cut(); gone.Len() > 0 {
		u.relay.Cut(func(from netip.Addr, began time.Time) bool {
			return !began.Before(since) && gone.Has(access.Numbered(from)) && !u.allows(from)
		})
	}
	if !matches {
		u.reconcile()
	}
	return tx.Errs()
}

// listenFor opens the socket for the peers that a transaction admits. It
// reports whether the socket's filter matches the transaction.
func (u *UDP) listenFor(tx *access.Transaction) bool {
	if !tx.Opens() {
		return false
	}
	fail := func(f func(error), err error) {
		u.inMu.Lock()
		defer u.inMu.Unlock()
		f(err)
	}
	newSocket := u.conn == nil // its filter lets no peer through yet
	if err := u.listen(); err != nil {
		fail(tx.Fail, err)
		return false
	}
	if !newSocket && !tx.Adds() {
		return !tx.Revokes()
	}
	if err := u.updateFilter(); err != nil {
		if newSocket {
			fail(tx.Fail, err)
		} else {
			fail(tx.FailAdded, err)
		}
		return false
	}
	return true
}

// Close implements access.Enforcer.
func (u *UDP) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.inMu.Lock()
	u.admitted.Clear()
	u.inMu.Unlock()
	u.closeSocket()
	if u.heldPort != nil {
		u.heldPort.Close()
		u.heldPort = nil
	}
	for p := range u.ports {
		p.conn.Close()
	}
	u.relay.Close()
	return nil
}

// allows reports whether an address may begin a flow. The relay calls it for
// each new flow.
func (u *UDP) allows(from netip.Addr) bool {
	u.inMu.RLock()
	defer u.inMu.RUnlock()
	return u.admitted.Allows(access.Numbered(from), u.cfg.Clock.Boot())
}

// enter returns the owners of a flow that begins. The relay calls it.
func (u *UDP) enter(from netip.Addr) access.Owners {
	u.inMu.Lock()
	defer u.inMu.Unlock()
	owners, _ := u.admitted.Enter(access.Numbered(from), u.cfg.Clock.Boot())
	return owners
}

// CutOff implements connOwners. The flow of a random port belongs to its
// command.
func (u *UDP) CutOff(gone func(wire.Identifier) bool, some bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.relay.CutOwned(func(o access.Owners) bool { return o.Lose(gone, some) })
	u.reconcile()
}

// Connections returns the number of flows.
func (u *UDP) Connections() int { return u.relay.Flows() }

// Owners implements connOwners.
func (u *UDP) Owners(f func(wire.Identifier)) { u.relay.Owners(f) }

// reconcile makes the socket and its filter match the admitted peers, and those
// whose flows continue.
func (u *UDP) reconcile() {
	if u.conn == nil {
		return
	}
	u.lingering = u.lingering[:0]
	for _, peer := range u.relay.Peers() {
		if !u.allows(peer) {
			u.lingering = append(u.lingering, peer)
		}
	}
	if u.admitted.Len()+len(u.lingering) == 0 && !u.cfg.Filtered {
		u.closeSocket()
		return
	}
	if err := u.updateFilter(); err != nil {
		u.cfg.Log.Error("failed to change the socket filter; closed until next grant", "listen", u.cfg.Listen, "error", err)
		u.closeSocket()
		return
	}
	if len(u.lingering) > 0 {
		u.timer.Reset(u.linger)
	}
}

func (u *UDP) listen() error {
	if u.conn != nil {
		return nil
	}
	if err := u.bind(); err != nil {
		return err
	}
	conn, err := u.heldPort.Listen()
	if err != nil {
		return err
	}
	u.conn, u.filter = conn, filterState{}
	if u.timer == nil {
		u.timer = time.AfterFunc(u.linger, func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.reconcile()
		})
	}
	go u.relay.Serve(conn) // ends when closeSocket closes the socket
	return nil
}

// closeSocket closes the socket, and ends all flows.
func (u *UDP) closeSocket() {
	if u.conn != nil {
		u.timer.Stop()
		u.relay.Cut(func(netip.Addr, time.Time) bool { return true })
		u.heldPort.StopListening()
		u.conn = nil
	}
}

// updateFilter sets the kernel's filter to the peers whose datagrams are read.
// Without it, strangers get no answer either.
func (u *UDP) updateFilter() error {
	return u.filter.apply(u.conn, u.admitted.Len()+len(u.lingering), func() sockfilter.Set {
		set := filterSet(&u.admitted)
		set.Addresses = append(set.Addresses, u.lingering...)
		return set
	})
}
