package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"
	"golang.org/x/sync/errgroup"

	"sallyport/verify"
	"sallyport/verify/schedule"
)

// Sink takes authenticated knocks. Deliver is called by several workers at a
// time and must not block; what it cannot take it drops and counts.
type Sink interface {
	Deliver(k verify.Knock, source netip.Addr)
}

// Config is what New needs. Terms, Sink, Now and Log are required.
type Config struct {
	// Addresses to receive on; none means all of the host's. The unspecified
	// IPv6 address takes IPv4 too, unless an IPv4 address stands beside it.
	Addresses []netip.Addr
	Readers   int // how many threads read; 0: one
	// ReceiveBuffer of each socket, in bytes; 0: the kernel's default.
	ReceiveBuffer int
	// Unfiltered leaves all refusals to us: the kernel makes none.
	Unfiltered bool
	Terms      Terms
	// Opened, if there is one, is told which ports are open, each with the end
	// of the time for which it is drawn, whenever that changes: after they have
	// been opened, or closed. The map is its own. If it fails, so does Run.
	Opened func(map[uint16]time.Time) error
	Sink   Sink
	Now    func() time.Time
	Log    *slog.Logger
}

// Terms are what may change while the server runs. They are immutable.
type Terms struct {
	Rules verify.Rules
	// Ports draws the port lists of a minute, each in the order of the
	// knocks: one, and while port secrets change hands another.
	Ports func(schedule.Minute) ([][]uint16, error)
}

func (t Terms) complete() bool { return t.Ports != nil && t.Rules.Table != nil }

// Server receives knocks.
type Server struct {
	cfg     Config
	readers []*reader
	shards  []*shard
	pool    *ants.Pool
	ports   *portSet
	ready   chan struct{}
	terms   atomic.Pointer[Terms]
	updates chan chan error // asks the rotation to look at the terms
}

// New makes all memory that receiving will need. It opens no port yet.
func New(cfg Config) (*Server, error) {
	if !cfg.Terms.complete() || cfg.Sink == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("ingest: terms, a sink, a clock and a log are required")
	}
	cfg.Readers = max(cfg.Readers, 1)
	if len(cfg.Addresses) == 0 {
		cfg.Addresses = anyAddress()
	}
	// Twice as many workers as shards: a task that has just given up its
	// shard may still be on its way out when the next one is submitted.
	pool, err := ants.NewPool(2*cfg.Readers, ants.WithPreAlloc(true), ants.WithDisablePurge(true),
		ants.WithPanicHandler(func(v any) { panic(v) })) // not recovered: a shard would stay deaf
	if err != nil {
		return nil, fmt.Errorf("make the worker pool: %w", err)
	}
	terms := cfg.Terms
	cfg.Terms = Terms{} // an update is to free the first ones
	s := &Server{cfg: cfg, pool: pool, ready: make(chan struct{}), updates: make(chan chan error)}
	s.terms.Store(&terms)
	for range cfg.Readers {
		sh := newShard(pool, &s.terms, cfg.Sink, cfg.Now)
		r, err := newReader(sh)
		if err != nil {
			s.release()
			return nil, fmt.Errorf("make a reader: %w", err)
		}
		s.shards, s.readers = append(s.shards, sh), append(s.readers, r)
	}
	s.ports = newPortSet(cfg.Addresses, s.readers, newSetup(cfg.ReceiveBuffer, cfg.Unfiltered, len(cfg.Addresses), cfg.Readers, cfg.Log), cfg.Log)
	return s, nil
}

// Run receives until ctx ends or a reader fails. When it returns, every port
// is closed and every datagram that was read has been checked.
func (s *Server) Run(ctx context.Context) error {
	defer s.release()
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range s.readers {
		g.Go(r.run)
	}
	g.Go(func() error {
		defer func() {
			for _, r := range s.readers {
				r.stop()
			}
		}()
		return s.rotate(ctx)
	})
	return g.Wait()
}

// Update changes the terms while Run runs. It returns when the ports of the
// new terms have been opened, or tried to; ports that stay are not touched.
// An error of the new Ports leaves the old terms in force.
func (s *Server) Update(ctx context.Context, t Terms) error {
	if !t.complete() {
		return errors.New("ingest: the new terms are incomplete")
	}
	if _, err := wantedPorts(s.live(t), t.Ports); err != nil {
		return err
	}
	s.terms.Store(&t)
	done := make(chan error, 1)
	select {
	case s.updates <- done:
		err := <-done
		for _, sh := range s.shards {
			sh.wake() // or the old terms live until the next datagram
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready is closed once Run has opened, or tried to open, the first ports.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// release waits for the workers and frees what New made.
func (s *Server) release() {
	for _, sh := range s.shards {
		sh.wait()
	}
	s.pool.Release()
	for _, r := range s.readers {
		r.close()
	}
}
