package gate

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// maxConnections is how many connections a door serves at a time.
	maxConnections = 4096
	// acceptPause is how long accepting rests after a failure, such as too
	// many open files.
	acceptPause = 50 * time.Millisecond
)

// Server serves what a TCP door lets in. Serve returns when the listener is
// closed; connections live on. It may be called again.
type Server interface{ Serve(net.Listener) error }

// TCPConfig is what NewTCP needs.
type TCPConfig struct {
	Listen string // host:port
	// Filtered keeps the socket there all the time, mute for all but those
	// admitted. Otherwise it is there only while somebody is.
	Filtered   bool
	Grain      Grain
	PerAddress int // connections of an address at a time
	Server     Server
	Log        *slog.Logger

	// ListenFunc stands in for a screened socket of the kernel's, if not nil.
	ListenFunc func(network, address string) (net.Listener, error)
}

// TCP is a door to a server of this process. Strangers are screened out by
// the kernel without an answer; those that come past, because the screen is
// full, are reset without a byte of payload.
type TCP struct {
	cfg TCPConfig

	mu        sync.Mutex
	admitted  admitted
	listener  *listener // nil: not listening
	cover     cover
	uncovered bool // as was logged
	conns     map[*conn]netip.Addr
	of        map[netip.Addr]int // how many connections an address has
	ports     map[*tcpPort]bool  // random ones that wait
	shut      bool
}

// NewTCP returns a closed door.
func NewTCP(cfg TCPConfig) *TCP {
	return &TCP{cfg: cfg, admitted: newAdmitted(cfg.Grain), conns: map[*conn]netip.Addr{}, of: map[netip.Addr]int{}, ports: map[*tcpPort]bool{}}
}

// Prepare has a filtered door listen, for nobody. Should it fail, Admit tries
// again.
func (t *TCP) Prepare() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.cfg.Filtered || t.shut {
		return nil
	}
	return t.listen()
}

// Admit implements Door.
func (t *TCP) Admit(a netip.Addr, until time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return ErrClosed
	}
	before, known := t.admitted.until[a]
	t.admitted.until[a] = until
	anew := t.listener == nil // and so for nobody as yet
	err := t.listen()
	if err == nil && (anew || !known) {
		err = t.screen()
	}
	if err != nil {
		if delete(t.admitted.until, a); known {
			t.admitted.until[a] = before
		}
		t.settle()
	}
	return err
}

// Dismiss implements Door.
func (t *TCP) Dismiss(gone []netip.Addr, cut bool) {
	t.mu.Lock()
	over := t.admitted.dismiss(gone)
	t.settle()
	var ending []*conn
	if cut {
		for c, peer := range t.conns {
			if c.port == nil && over(peer) {
				ending = append(ending, c)
				t.forget(c)
			}
		}
	}
	t.mu.Unlock()
	resetAll(ending)
}

// Close implements Door.
func (t *TCP) Close() {
	t.mu.Lock()
	t.shut = true
	clear(t.admitted.until)
	t.hide()
	for p := range t.ports {
		p.stop()
	}
	var ending []*conn
	for c := range t.conns {
		ending = append(ending, c)
		t.forget(c)
	}
	t.mu.Unlock()
	resetAll(ending)
}

// settle brings the socket in line with who is admitted.
func (t *TCP) settle() {
	if t.listener == nil {
		return
	}
	if len(t.admitted.until) == 0 && !t.cfg.Filtered {
		t.hide()
		return
	}
	if err := t.screen(); err != nil {
		// The old screen may let in who has left: nobody comes in by it.
		t.cfg.Log.Error("the socket's filter cannot be changed: closed until the next grant", "at", t.cfg.Listen, "error", err)
		t.hide()
	}
}

func (t *TCP) listen() error {
	if t.listener != nil {
		return nil
	}
	l, err := t.listenAt(t.cfg.Listen)
	if err != nil {
		return err
	}
	t.cover = cover{}
	t.listener = &listener{Listener: l, door: t}
	go t.cfg.Server.Serve(t.listener) // ends when hide closes the listener
	return nil
}

func (t *TCP) listenAt(address string) (net.Listener, error) {
	if t.cfg.ListenFunc != nil {
		return t.cfg.ListenFunc("tcp", address)
	}
	return listenScreened("tcp", address)
}

// hide stops listening. Connections live on.
func (t *TCP) hide() {
	if t.listener != nil {
		t.listener.Close()
		t.listener = nil
	}
}

// screen tells the kernel who may come in.
func (t *TCP) screen() error {
	socket, ok := t.listener.Listener.(syscall.Conn)
	if !ok {
		return nil
	}
	if err := t.cover.draw(socket, len(t.admitted.until), t.admitted.screened); err != nil {
		return err
	}
	if open := t.cover.full > 0; open != t.uncovered {
		t.uncovered = open
		t.cfg.Log.Info("socket filter", "at", t.cfg.Listen, "addresses", len(t.admitted.until), "holds_them", !open)
	}
	return nil
}
