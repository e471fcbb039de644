package gate

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/gate/relay"
	"sallyport/sessions/gate/screen"
)

// lingerPause is how often a socket that only serves flows from before is
// looked at.
const lingerPause = 5 * time.Second

// UDPConfig is what NewUDP needs.
type UDPConfig struct {
	Listen   string // host:port
	Filtered bool   // as in TCPConfig
	Grain    Grain
	Relay    relay.UDPConfig // without Allows and Share
	Log      *slog.Logger
}

// UDP is a door to an upstream that speaks UDP. A socket is mute towards
// strangers by itself; the kernel's screen spares the work of reading what
// they send.
type UDP struct {
	cfg   UDPConfig
	relay *relay.UDP

	who      sync.RWMutex // taken last, also while the relay holds its own lock
	admitted admitted

	mu        sync.Mutex
	lingering []netip.Addr // no longer admitted, but with flows that live on
	conn      *net.UDPConn // nil: not there
	cover     cover
	timer     *time.Timer       // looks after those that linger
	ports     map[*udpPort]bool // random ones, waiting or with their flow
	shut      bool
}

// NewUDP returns a closed door.
func NewUDP(cfg UDPConfig) *UDP {
	u := &UDP{cfg: cfg, admitted: newAdmitted(cfg.Grain), ports: map[*udpPort]bool{}}
	cfg.Relay.Allows, cfg.Relay.Share = u.allows, cfg.Grain.Of
	u.relay = relay.NewUDP(cfg.Relay)
	return u
}

// Prepare is TCP's.
func (u *UDP) Prepare() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.cfg.Filtered || u.shut {
		return nil
	}
	return u.listen()
}

// Update changes where flows go from the next one on.
func (u *UDP) Update(upstream string) { u.relay.SetUpstream(upstream) }

// Admit implements Door.
func (u *UDP) Admit(a netip.Addr, until time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shut {
		return ErrClosed
	}
	before, known := u.set(a, until)
	anew := u.conn == nil // and so for nobody as yet
	err := u.listen()
	if err == nil && (anew || !known) {
		err = u.screen()
	}
	if err != nil {
		if known {
			u.set(a, before)
		} else {
			u.dismiss([]netip.Addr{a})
		}
		u.settle()
	}
	return err
}

// Dismiss implements Door.
func (u *UDP) Dismiss(gone []netip.Addr, cut bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	over := u.dismiss(gone)
	if cut {
		u.relay.Cut(over)
	}
	u.settle()
}

// Close implements Door.
func (u *UDP) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shut = true
	u.who.Lock()
	clear(u.admitted.until)
	u.who.Unlock()
	u.hide()
	for p := range u.ports {
		p.conn.Close()
	}
	u.relay.Close()
}

func (u *UDP) set(a netip.Addr, until time.Time) (before time.Time, known bool) {
	u.who.Lock()
	defer u.who.Unlock()
	before, known = u.admitted.until[a]
	u.admitted.until[a] = until
	return before, known
}

// dismiss returns whose flows are over.
func (u *UDP) dismiss(gone []netip.Addr) func(netip.Addr) bool {
	u.who.Lock()
	defer u.who.Unlock()
	over := u.admitted.dismiss(gone)
	return func(peer netip.Addr) bool {
		u.who.RLock()
		defer u.who.RUnlock()
		return over(numbered(peer))
	}
}

// allows is asked by the relay for each new flow.
func (u *UDP) allows(peer netip.Addr) bool {
	u.who.RLock()
	defer u.who.RUnlock()
	return u.admitted.allows(numbered(peer), time.Now())
}

// settle brings the socket in line with who is admitted, and whose flows live
// on.
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
	if len(u.admitted.until)+len(u.lingering) == 0 && !u.cfg.Filtered {
		u.hide()
		return
	}
	if err := u.screen(); err != nil {
		u.cfg.Log.Error("the socket's filter cannot be changed: closed until the next grant", "at", u.cfg.Listen, "error", err)
		u.hide()
		return
	}
	if len(u.lingering) > 0 {
		u.timer.Reset(lingerPause)
	}
}

func (u *UDP) listen() error {
	if u.conn != nil {
		return nil
	}
	conn, err := listenPacketScreened(u.cfg.Listen)
	if err != nil {
		return err
	}
	u.conn, u.cover = conn, cover{}
	if u.timer == nil {
		u.timer = time.AfterFunc(lingerPause, func() {
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
		u.relay.Cut(func(netip.Addr) bool { return true })
		u.conn.Close()
		u.conn = nil
	}
}

// screen tells the kernel whose datagrams are worth reading. Strangers are not
// answered without it either.
func (u *UDP) screen() error {
	return u.cover.draw(u.conn, len(u.admitted.until)+len(u.lingering), func() screen.Set {
		set := u.admitted.screened()
		set.Addresses = append(set.Addresses, u.lingering...)
		return set
	})
}
