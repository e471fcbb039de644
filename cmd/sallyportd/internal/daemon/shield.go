package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

const (
	// shieldPause is the time between two attempts to load the shield, if the holder
	// refuses it: memory may be short for a while.
	shieldPause = time.Minute
	// minShieldRoom is for how many clients a shield has room, at least, so that a
	// reload rarely requires another one.
	minShieldRoom = 1 << 16
)

// shield has the program at the network driver loaded by the holder, and gives its
// arrays to the receiver. Without it, the receiver's sockets get everything: no error
// of the shield stops the server. A nil shield does nothing.
type shield struct {
	holder *holder.Conn
	set    func(context.Context, *xdp.Shield, xdp.Options) error // Receiver.SetShield
	log    *slog.Logger
	again  chan struct{} // has an element when load must run again
	first  chan struct{} // closed after the first attempt

	mu      sync.Mutex
	current *xdp.Shield // nil: none
	options xdp.Options
	listen  []netip.Addr
	clients int
	room    int    // for how many clients current has room
	losses  int    // of holders, to notice one while the shield is loaded
	why     string // there is none; in the log already
}

func newShield(
	cfg *config.Config, clients int, h *holder.Conn, set func(context.Context, *xdp.Shield, xdp.Options) error, log *slog.Logger,
) *shield {
	return &shield{
		holder: h, set: set, log: log, again: make(chan struct{}, 1), first: make(chan struct{}),
		options: shieldOptions(cfg), listen: cfg.Listen, clients: clients,
	}
}

func shieldOptions(cfg *config.Config) xdp.Options {
	o := xdp.Options{Shares: cfg.Shield.Shares, Mirror: cfg.Shield.Mirror}
	if captured := cfg.Captured(); captured != nil {
		o.Empty = !captured.TCP
	}
	return o
}

// run loads the shield whenever there is a holder and none is loaded, until ctx ends.
func (s *shield) run(ctx context.Context) {
	attempt := sync.OnceFunc(func() { close(s.first) })
	defer attempt()
	for {
		s.load(ctx)
		attempt()
		select {
		case <-ctx.Done():
			return
		case <-s.again:
		case <-time.After(shieldPause):
		}
	}
}

// load loads the shield, unless one is in force that has room for all clients.
func (s *shield) load(ctx context.Context) {
	s.mu.Lock()
	r := holder.ShieldRequest{Listen: s.listen, Clients: uint32(max(2*s.clients, minShieldRoom))}
	done, losses := s.current != nil && s.clients <= s.room, s.losses
	s.mu.Unlock()
	if done || !s.holder.Held() {
		return
	}
	arrays, err := s.holder.Shield(ctx, r)
	var loaded *xdp.Shield
	room := 0
	if err == nil {
		loaded, err = xdp.Map(arrays) // which closes the files
	}
	if err == nil {
		room = loaded.Room() // the holder may have loaded it before the server asked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil || s.losses != losses || errors.Is(err, holder.ErrDead):
		if loaded != nil {
			loaded.Close()
		}
		return
	case err == nil:
		err = s.replace(ctx, loaded)
	}
	if ctx.Err() != nil {
		return // the server stops
	}
	if err != nil && s.stays(err) {
		s.failLarger(err)
		return
	}
	if err != nil {
		s.replace(ctx, nil) // the holder has detached the one before
		s.fail(err)
		return
	}
	s.room, s.why = room, ""
	s.logOn()
}

// stays reports whether the holder has left the current shield attached when it could not
// load another one. The program passes unknown identifiers while not all fit.
func (s *shield) stays(err error) bool {
	if s.current == nil || !errors.Is(err, holder.ErrRefused) {
		return false
	}
	_, err = s.holder.ShieldState()
	return err == nil
}

// replace gives the receiver another shield, which then owns it; nil: none. The caller
// holds the lock.
func (s *shield) replace(ctx context.Context, next *xdp.Shield) error {
	if next == nil && s.current == nil {
		return nil
	}
	s.current = next
	err := s.set(ctx, next, s.options)
	if err != nil {
		s.current = nil
	}
	return err
}

// lost ends the use of the shield: its holder is gone, and the kernel has detached it.
func (s *shield) lost(why error) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses++
	if s.current == nil {
		return
	}
	s.why = why.Error()
	s.log.Warn("shield gone; the sockets go on", "error", why)
	// An error means that the receiver has ended.
	s.replace(context.Background(), nil)
}

// found lets run load the shield, by another holder or for more clients.
func (s *shield) found() {
	if s == nil {
		return
	}
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// reload puts the options of a configuration in force.
func (s *shield) reload(cfg *config.Config, clients int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = clients
	if next := shieldOptions(cfg); next != s.options {
		s.options = next
		switch err := s.replace(context.Background(), s.current); {
		case err != nil:
			s.log.Error("failed to change the shield", "error", err)
		case s.current != nil:
			s.log.Info("shield changed", "shares", next.Shares, "mirror", next.Mirror)
		}
	}
	if s.current != nil && s.clients > s.room {
		s.found()
	}
}

// watchHolder connects to a holder that has the shield only, and to the next one when it
// is gone, until ctx ends.
func (s *shield) watchHolder(ctx context.Context, o *observed) error {
	return s.holder.Run(ctx, holder.Events{
		Lost: func(why error) {
			o.holderLost()
			s.lost(why)
		},
		Tried: func(why error) {
			if errors.Is(why, fs.ErrNotExist) || errors.Is(why, syscall.ECONNREFUSED) {
				return // there is none
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fail(why)
		},
		Found: func() {
			o.holderFound()
			s.found()
		},
		Silent:    func() { s.log.Warn("shield holder silent; the shield goes on") },
		Continues: func() { s.log.Info("shield holder continues") },
	})
}

// tried is closed after the first attempt to load the shield.
func (s *shield) tried() <-chan struct{} {
	if s == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	return s.first
}

// stop ends the connection to a holder that has the shield only.
func (s *shield) stop() {
	if s == nil {
		return
	}
	if err := s.holder.Stop(); err != nil && !errors.Is(err, holder.ErrDead) {
		s.log.Warn("failed to detach the shield in order", "error", err)
	}
}
