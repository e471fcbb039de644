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
	"sallyport/sessions/gate/prove"
	"sallyport/sessions/gate/sockfilter"
	"sallyport/verify/wire"
)

const (
	// maxConnections is the number of connections that an enforcer serves at a
	// time.
	maxConnections = 4096
	// acceptPause is the pause after a failed accept, such as for too many open
	// files.
	acceptPause = 50 * time.Millisecond
)

// Handler serves the connections that a TCP enforcer admits. Serve returns when
// the listener is closed; connections continue. It may be called again.
type Handler interface{ Serve(net.Listener) error }

// TCPConfig configures NewTCP.
type TCPConfig struct {
	Listen string // host:port
	// Filtered makes the socket listen all the time, without an answer to peers
	// that are not admitted. Otherwise it listens only while a peer is
	// admitted; the enforcer holds the port in both cases.
	Filtered   bool
	PrefixLen4 int // number of significant bits of an IPv4 address: see access.PeerIn
	PrefixLen6 int // number of significant bits of an IPv6 address
	PerAddress int // maximum number of connections per address at a time
	// Prover lets connections prove that they are a client's; nil: the address suffices.
	// Several enforcers of a service may share one.
	Prover *prove.Prover
	// Limits counts the connections of several enforcers together; nil: those of this
	// one.
	Limits  *ConnLimits
	Handler Handler
	Clock   clock.Clock // the clock of the Service
	Log     *slog.Logger

	// ListenFunc replaces a filtered socket of the kernel, if not nil.
	ListenFunc func(network, address string) (net.Listener, error)
}

// TCP is the enforcer of a server in this process. The kernel drops strangers'
// packets without an answer. If its filter is full, it lets strangers'
// connections through, and the enforcer resets them before a byte of payload.
type TCP struct {
	cfg TCPConfig

	mu             sync.Mutex
	admitted       access.Set
	heldPort       *heldport.TCP // nil: not bound yet
	listener       *listener     // nil: not listening
	filter         filterState
	filterOverflow bool                 // as logged last
	conns          map[*conn]netip.Addr // by remote address
	limits         *ConnLimits          // of these connections, and perhaps those of other enforcers
	ports          map[*tcpPort]bool    // random ports that wait
	closed         bool
	finishing      bool         // it accepts no further connection
	leases         prove.Leases // of the service: see Service.hasLease; nil: of none
}

// NewTCP returns a closed enforcer.
func NewTCP(cfg TCPConfig) *TCP {
	if cfg.Limits == nil {
		cfg.Limits = new(ConnLimits)
	}
	return &TCP{cfg: cfg, conns: map[*conn]netip.Addr{}, limits: cfg.Limits, ports: map[*tcpPort]bool{}}
}

// Prepare binds the port, and makes a filtered enforcer listen, without
// admitting a peer. If the port is bound, it binds the port again at an
// interface that was replaced. If it fails, nothing is bound, and a later call
// retries; a heldport.InUseError means that another program has the port.
func (t *TCP) Prepare() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.finishing {
		return nil
	}
	if t.heldPort != nil && t.heldPort.Stale() {
		t.closeSocket()
		t.releasePort()
	}
	if err := t.bind(); err != nil {
		return err
	}
	if t.listener != nil || !t.cfg.Filtered && t.admitted.Len() == 0 {
		return nil
	}
	if err := t.listen(); err != nil {
		return err
	}
	t.reconcile()
	return nil
}

// bind binds the port.
func (t *TCP) bind() (err error) {
	if t.heldPort == nil && t.cfg.ListenFunc == nil {
		t.heldPort, err = heldport.BindTCP(t.cfg.Listen, sockfilter.DenyAll)
	}
	return err
}

// Apply implements access.Enforcer. It may be called concurrently.
func (t *TCP) Apply(changes []access.Change) []error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return access.Failed(changes, ErrClosed)
	}
	tx := t.admitted.Begin(changes)
	if !t.listenFor(tx) {
		t.reconcile()
	}
	var ending []*conn
	if gone, since := tx.Cut(); gone.Len() > 0 {
		now := t.cfg.Clock.Boot()
		for c, from := range t.conns {
			if c.port == nil && !c.began.Before(since) && gone.Has(from) && !t.admitted.Allows(from, now) {
				ending = append(ending, c)
				t.untrack(c)
			}
		}
	}
	t.mu.Unlock()
	resetAll(ending)
	return tx.Errs()
}

// CutOff implements connOwners. The connection of a random port belongs to its
// command.
func (t *TCP) CutOff(gone func(wire.Identifier) bool, some bool) {
	t.mu.Lock()
	var ending []*conn
	for c := range t.conns {
		if c.port == nil && c.owners.Lose(gone, some) {
			ending = append(ending, c)
			t.untrack(c)
		}
	}
	t.mu.Unlock()
	resetAll(ending)
}

// Owners implements connOwners.
func (t *TCP) Owners(f func(wire.Identifier)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		c.owners.Each(f)
	}
}

// Connections returns the number of connections.
func (t *TCP) Connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns)
}

// listenFor opens the socket for the peers that a transaction admits. It
// reports whether the socket's filter matches the transaction.
func (t *TCP) listenFor(tx *access.Transaction) bool {
	if !tx.Opens() {
		return false
	}
	newSocket := t.listener == nil // its filter lets no peer through yet
	if err := t.listen(); err != nil {
		tx.Fail(err)
		return false
	}
	if !newSocket && !tx.Adds() {
		return !tx.Revokes()
	}
	if err := t.updateFilter(); err != nil {
		if newSocket {
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
	t.closed = true
	t.admitted.Clear()
	t.closeSocket()
	t.releasePort()
	for p := range t.ports {
		p.stop()
	}
	var ending []*conn
	for c := range t.conns {
		ending = append(ending, c)
		t.untrack(c)
	}
	t.mu.Unlock()
	resetAll(ending)
	return nil
}

// reconcile makes the socket and its filter match the admitted peers.
func (t *TCP) reconcile() {
	if t.listener == nil {
		return
	}
	if t.admitted.Len() == 0 && !t.cfg.Filtered {
		t.closeSocket()
		return
	}
	if err := t.updateFilter(); err != nil {
		// The old filter may let removed peers through.
		t.cfg.Log.Error("failed to change the socket filter; closed until next grant", "listen", t.cfg.Listen, "error", err)
		t.closeSocket()
	}
}

func (t *TCP) listen() error {
	if t.listener != nil {
		return nil
	}
	if t.finishing {
		return ErrClosed
	}
	if err := t.bind(); err != nil {
		return err
	}
	l, err := t.open()
	if err != nil {
		return err
	}
	own := &listener{Listener: l, tcp: t}
	if t.cfg.Prover != nil {
		if err := own.prove(t.cfg.Prover); err != nil {
			t.listener = own
			t.closeSocket()
			return err
		}
	}
	t.filter, t.listener = filterState{}, own
	go t.cfg.Handler.Serve(t.listener) // ends when hide closes the listener
	return nil
}

// open makes the port listen.
func (t *TCP) open() (net.Listener, error) {
	if t.heldPort == nil {
		return t.listenAt(t.cfg.Listen)
	}
	return t.heldPort.Listen()
}

func (t *TCP) listenAt(address string) (net.Listener, error) {
	if t.cfg.ListenFunc != nil {
		return t.cfg.ListenFunc("tcp", address)
	}
	return listenDenyAll("tcp", address)
}

// closeSocket stops listening, and keeps the port. Connections continue.
func (t *TCP) closeSocket() {
	if t.listener == nil {
		return
	}
	t.listener.Close()
	t.listener.refuseAll()
	t.listener = nil
	if t.heldPort == nil {
		return
	}
	if err := t.heldPort.StopListening(); err != nil {
		// The port may still listen: release it, and bind it again.
		t.cfg.Log.Error("failed to keep the closed service port reserved", "listen", t.cfg.Listen, "error", err)
		t.releasePort()
	}
}

func (t *TCP) releasePort() {
	if t.heldPort != nil {
		t.heldPort.Close()
		t.heldPort = nil
	}
}

// updateFilter sets the socket's filter for the admitted peers.
func (t *TCP) updateFilter() error {
	socket, ok := t.listener.Listener.(syscall.Conn)
	if !ok {
		return nil
	}
	err := t.filter.apply(socket, t.admitted.Len(), func() sockfilter.Set { return filterSet(&t.admitted) })
	if err != nil {
		return err
	}
	if open := t.filter.overflowAt > 0; open != t.filterOverflow {
		t.filterOverflow = open
		if open {
			t.cfg.Log.Info("socket filter not in use; the server checks addresses", "listen", t.cfg.Listen, "count", t.admitted.Len())
		} else {
			t.cfg.Log.Info("socket filter checks all addresses again", "listen", t.cfg.Listen, "count", t.admitted.Len())
		}
	}
	return nil
}
