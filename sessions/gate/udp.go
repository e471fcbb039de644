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

// lingerPause is how often a socket that only serves flows from before is
// looked at.
const lingerPause = 5 * time.Second

// UDPConfig is what NewUDP needs.
type UDPConfig struct {
	Listen     string          // host:port
	Filtered   bool            // as in TCPConfig
	PrefixLen6 int             // as in TCPConfig
	Relay      relay.UDPConfig // without Allows, Share and Clock
	Clock      clock.Clock     // as in TCPConfig
	Log        *slog.Logger
}

// UDP is the enforcer of an upstream that speaks UDP. A socket is mute towards
// strangers by itself; the kernel's filter spares the work of reading what they
// send.
type UDP struct {
	cfg    UDPConfig
	relay  *relay.UDP
	linger time.Duration // lingerPause; shorter in tests

	who sync.RWMutex // taken last, also while the relay holds its own lock
	in  access.Set

	mu        sync.Mutex
	lingering []netip.Addr  // no longer let in, but with flows that live on
	held      *heldport.UDP // nil: not this process's yet
	conn      *net.UDPConn  // nil: not there
	cover     cover
	timer     *time.Timer       // looks after those that linger
	ports     map[*udpPort]bool // random ones, waiting or with their flow
	done      chan struct{}     // closed when the port is given up
	shut      bool
}

// NewUDP returns a closed enforcer.
func NewUDP(cfg UDPConfig) *UDP {
	u := &UDP{cfg: cfg, linger: lingerPause, ports: map[*udpPort]bool{}, done: make(chan struct{})}
	cfg.Relay.Clock = cfg.Clock
	cfg.Relay.Allows, cfg.Relay.Owners = u.allows, u.enter
	cfg.Relay.Share = func(a netip.Addr) access.Peer { return access.PeerOf(a, cfg.PrefixLen6) }
	u.relay = relay.NewUDP(cfg.Relay)
	return u
}

// Prepare is TCP's.
func (u *UDP) Prepare() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.shut:
		return nil
	case u.cfg.Filtered:
		return u.listen()
	}
	return u.hold()
}

// hold takes the port, and follows the host's addresses from then on.
func (u *UDP) hold() (err error) {
	if u.held != nil {
		return nil
	}
	if u.held, err = heldport.BindUDP(u.cfg.Listen, sockfilter.DenyAll); err != nil {
		u.held = nil
		return err
	}
	go u.follow()
	return nil
}

// follow takes the port at the addresses that the host gets.
func (u *UDP) follow() {
	failing := false
	heldport.OnAddresses(u.done, func() {
		err := u.followNow()
		if err != nil && !failing {
			u.cfg.Log.Error("failed to reserve the service port at a new address", "listen", u.cfg.Listen, "error", err)
		}
		failing = err != nil
	})
}

func (u *UDP) followNow() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.held == nil {
		return nil
	}
	return u.held.Follow()
}

// Update changes where flows go from the next one on.
func (u *UDP) Update(upstream string) { u.relay.SetUpstream(upstream) }

// Apply implements access.Enforcer. It may be called concurrently.
func (u *UDP) Apply(changes []access.Change) []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shut {
		return access.Failed(changes, ErrClosed)
	}
	u.who.Lock()
	tx := u.in.Begin(changes)
	u.who.Unlock()
	inLine := u.listenFor(tx)
	if gone, since := tx.Cut(); gone.Len() > 0 {
		u.relay.Cut(func(from netip.Addr, began time.Time) bool {
			return !began.Before(since) && gone.Has(access.Numbered(from)) && !u.allows(from)
		})
	}
	if !inLine {
		u.settle()
	}
	return tx.Errs()
}

// listenFor has the socket there, and open to those that a transaction lets in.
// It reports whether the socket is in line with it.
func (u *UDP) listenFor(tx *access.Transaction) bool {
	if !tx.Opens() {
		return false
	}
	fail := func(f func(error), err error) {
		u.who.Lock()
		defer u.who.Unlock()
		f(err)
	}
	anew := u.conn == nil // and so for nobody as yet
	if err := u.listen(); err != nil {
		fail(tx.Fail, err)
		return false
	}
	if !anew && !tx.Adds() {
		return !tx.Revokes()
	}
	if err := u.screen(); err != nil {
		if anew {
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
	u.shut = true
	u.who.Lock()
	u.in.Clear()
	u.who.Unlock()
	u.hide()
	if u.held != nil {
		u.held.Close()
		u.held = nil
		close(u.done)
	}
	for p := range u.ports {
		p.conn.Close()
	}
	u.relay.Close()
	return nil
}

// allows is asked by the relay for each new flow.
func (u *UDP) allows(from netip.Addr) bool {
	u.who.RLock()
	defer u.who.RUnlock()
	return u.in.Allows(access.Numbered(from), u.cfg.Clock.Boot())
}

// enter is asked by the relay for a flow that begins.
func (u *UDP) enter(from netip.Addr) access.Owners {
	u.who.Lock()
	defer u.who.Unlock()
	owned, _ := u.in.Enter(access.Numbered(from), u.cfg.Clock.Boot())
	return owned
}

// CutOff ends the flows of clients who are gone. A random port's is its order's.
func (u *UDP) CutOff(gone func(wire.Identifier) bool, some bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.relay.CutOwned(func(o access.Owners) bool { return o.Lose(gone, some) })
	u.settle()
}

// Owners calls f with the clients whose the flows are.
func (u *UDP) Owners(f func(wire.Identifier)) { u.relay.Owners(f) }

// settle brings the socket in line with those that are let in, and those whose
// flows live on.
func (u *UDP) settle() {
	if u.conn == nil {
		return
	}
	u.lingering = u.lingering[:0]
	for _, peer := range u.relay.Peers() {
		if !u.allows(peer) {
			u.lingering = append(u.lingering, peer)
		}
	}
	if u.in.Len()+len(u.lingering) == 0 && !u.cfg.Filtered {
		u.hide()
		return
	}
	if err := u.screen(); err != nil {
		u.cfg.Log.Error("failed to change the socket filter; closed until next grant", "listen", u.cfg.Listen, "error", err)
		u.hide()
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
	if err := u.hold(); err != nil {
		return err
	}
	conn, err := u.held.Listen()
	if err != nil {
		return err
	}
	u.conn, u.cover = conn, cover{}
	if u.timer == nil {
		u.timer = time.AfterFunc(u.linger, func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.settle()
		})
	}
	go u.relay.Serve(conn) // ends when hide closes the socket
	return nil
}

// hide ends the socket; without one flows end too.
func (u *UDP) hide() {
	if u.conn != nil {
		u.timer.Stop()
		u.relay.Cut(func(netip.Addr, time.Time) bool { return true })
		u.held.Hide()
		u.conn = nil
	}
}

// screen tells the kernel whose datagrams are worth reading. Strangers are not
// answered without it either.
func (u *UDP) screen() error {
	return u.cover.draw(u.conn, u.in.Len()+len(u.lingering), func() sockfilter.Set {
		set := screenSet(&u.in)
		set.Addresses = append(set.Addresses, u.lingering...)
		return set
	})
}
