package gate

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/sockfilter"
	"sallyport/verify/wire"
)

const (
	// maxConnections is how many connections an enforcer serves at a time.
	maxConnections = 4096
	// acceptPause is how long accepting rests after a failure, such as too
	// many open files.
	acceptPause = 50 * time.Millisecond
)

// Handler serves what a TCP enforcer lets in. Serve returns when the listener is
// closed; connections live on. It may be called again.
type Handler interface{ Serve(net.Listener) error }

// TCPConfig is what NewTCP needs.
type TCPConfig struct {
	Listen string // host:port
	// Filtered has the socket listen all the time, mute for all but those that
	// are let in. Otherwise it listens only while there are any; its port is
	// this process's all the same.
	Filtered   bool
	PrefixLen6 int // how many bits of an IPv6 address count as one address
	PerAddress int // connections of an address at a time
	Server     Handler
	Clock      clock.Clock // the one of the Service: the same axis
	Log        *slog.Logger

	// ListenFunc stands in for a screened socket of the kernel's, if not nil.
	ListenFunc func(network, address string) (net.Listener, error)
}

// TCP is the enforcer of a server of this process. The kernel drops what
// strangers send, without an answer; those that come past, because its filter is
// full, are reset without a byte of payload.
type TCP struct {
	cfg TCPConfig

	mu        sync.Mutex
	in        access.Set
	held      *heldport.TCP // nil: not this process's yet
	listener  *listener     // nil: not listening
	cover     cover
	uncovered bool                 // as was logged
	conns     map[*conn]netip.Addr // by where they come from
	of        map[access.Peer]int  // how many connections an address has
	ports     map[*tcpPort]bool    // random ones that wait
	shut      bool
}

// NewTCP returns a closed enforcer.
func NewTCP(cfg TCPConfig) *TCP {
	return &TCP{cfg: cfg, conns: map[*conn]netip.Addr{}, of: map[access.Peer]int{}, ports: map[*tcpPort]bool{}}
}

// Prepare takes the port, and has a filtered enforcer listen, for nobody. If it
// fails, Apply tries again; a heldport.InUseError says that another program has
// the port.
func (t *TCP) Prepare() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.shut:
		return nil
	case t.cfg.Filtered:
		return t.listen()
	}
	return t.hold()
}

// hold takes the port.
func (t *TCP) hold() (err error) {
	if t.held == nil && t.cfg.ListenFunc == nil {
		t.held, err = heldport.BindTCP(t.cfg.Listen, sockfilter.DenyAll)
	}
	return err
}

// Apply implements access.Enforcer. It may be called concurrently.
func (t *TCP) Apply(changes []access.Change) []error {
	t.mu.Lock()
	if t.shut {
		t.mu.Unlock()
		return access.Failed(changes, ErrClosed)
	}
	tx := t.in.Begin(changes)
	if !t.listenFor(tx) {
		t.settle()
	}
	var ending []*conn
	if gone, since := tx.Cut(); gone.Len() > 0 {
		now := t.cfg.Clock.Boot()
		for c, from := range t.conns {
			if c.port == nil && !c.began.Before(since) && gone.Has(from) && !t.in.Allows(from, now) {
				ending = append(ending, c)
				t.forget(c)
			}
		}
	}
	t.mu.Unlock()
	resetAll(ending)
	return tx.Errs()
}

// CutOff ends the connections of clients who are gone. A random port's are its
// order's.
func (t *TCP) CutOff(gone func(wire.Identifier) bool, some bool) {
	t.mu.Lock()
	var ending []*conn
	for c := range t.conns {
		if c.port == nil && c.owned.Lose(gone, some) {
			ending = append(ending, c)
			t.forget(c)
		}
	}
	t.mu.Unlock()
	resetAll(ending)
}

// Owners calls f with the clients whose the connections are.
func (t *TCP) Owners(f func(wire.Identifier)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		c.owned.Each(f)
	}
}

// listenFor has the socket there, and open to those that a transaction lets in.
// It reports whether the socket is in line with it.
func (t *TCP) listenFor(tx *access.Transaction) bool {
	if !tx.Opens() {
		return false
	}
	anew := t.listener == nil // and so for nobody as yet
	if err := t.listen(); err != nil {
		tx.Fail(err)
		return false
	}
	if !anew && !tx.Adds() {
		return !tx.Revokes()
	}
	if err := t.screen(); err != nil {
		if anew {
			tx.Fail(err)
		} else {
			tx.FailAdded(err)
		}
		return false
	}
	return true
}

// Close implements access.Enforcer.
func (t *TCP) Close() error {
	t.mu.Lock()
	t.shut = true
	t.in.Clear()
	t.hide()
	t.giveUp()
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
	return nil
}

// settle brings the socket in line with those that are let in.
func (t *TCP) settle() {
	if t.listener == nil {
		return
	}
	if t.in.Len() == 0 && !t.cfg.Filtered {
		t.hide()
		return
	}
	if err := t.screen(); err != nil {
		// The old filter may let through those that have left.
		t.cfg.Log.Error("failed to change the socket filter; closed until next grant", "listen", t.cfg.Listen, "error", err)
		t.hide()
	}
}

func (t *TCP) listen() error {
	if t.listener != nil {
		return nil
	}
	if err := t.hold(); err != nil {
		return err
	}
	l, err := t.open()
	if err != nil {
		return err
	}
	t.cover = cover{}
	t.listener = &listener{Listener: l, tcp: t}
	go t.cfg.Server.Serve(t.listener) // ends when hide closes the listener
	return nil
}

// open has the port listen.
func (t *TCP) open() (net.Listener, error) {
	if t.held == nil {
		return t.listenAt(t.cfg.Listen)
	}
	return t.held.Listen()
}

func (t *TCP) listenAt(address string) (net.Listener, error) {
	if t.cfg.ListenFunc != nil {
		return t.cfg.ListenFunc("tcp", address)
	}
	return listenScreened("tcp", address)
}

// hide stops listening, and keeps the port. Connections live on.
func (t *TCP) hide() {
	if t.listener == nil {
		return
	}
	t.listener.Close()
	t.listener = nil
	if t.held == nil {
		return
	}
	if err := t.held.Hide(); err != nil {
		// It may listen still: the port is given up, and taken anew.
		t.cfg.Log.Error("failed to keep the closed service port reserved", "listen", t.cfg.Listen, "error", err)
		t.giveUp()
	}
}

func (t *TCP) giveUp() {
	if t.held != nil {
		t.held.Close()
		t.held = nil
	}
}

// screen tells the kernel who may come in.
func (t *TCP) screen() error {
	socket, ok := t.listener.Listener.(syscall.Conn)
	if !ok {
		return nil
	}
	if err := t.cover.draw(socket, t.in.Len(), func() sockfilter.Set { return screenSet(&t.in) }); err != nil {
		return err
	}
	if open := t.cover.full > 0; open != t.uncovered {
		t.uncovered = open
		if open {
			t.cfg.Log.Info("socket filter full; the server checks addresses", "listen", t.cfg.Listen, "count", t.in.Len())
		} else {
			t.cfg.Log.Info("socket filter checks all addresses again", "listen", t.cfg.Listen, "count", t.in.Len())
		}
	}
	return nil
}
