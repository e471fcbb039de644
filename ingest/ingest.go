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
	Addresses []netip.Addr // see udp.Addresses
	Readers   int          // how many threads read; 0: one
	// ReceiveBuffer of each socket, in bytes; 0: the kernel's default.
	ReceiveBuffer int
	// Unfiltered leaves all refusals to us: the sockets have no filter.
	Unfiltered bool
	Terms      Settings
	// KnockPorts, if set, is called with the ports that are open, each with the
	// end of the time for which it is drawn, whenever that changes: so that a
	// firewall lets them in. It is called after ports were opened or closed, by
	// one goroutine at a time, and owns the map. An error during Prepare refuses
	// the new terms; when the minute turns, it ends Run.
	KnockPorts func(open map[uint16]time.Time) error
	Sink       Sink
	Now        func() time.Time // the wall clock
	Log        *slog.Logger
}

// Settings are what may change while the server runs. They are immutable.
type Settings struct {
	Rules verify.Rules
	// Ports draws the port lists of a minute, each in the order of the
	// knocks: one, and while port secrets change hands another.
	Ports func(schedule.Minute) ([][]uint16, error)
}

func (t Settings) complete() bool { return t.Ports != nil && t.Rules.Table != nil }

// Receiver receives knocks.
type Receiver struct {
	cfg     Config
	readers []*reader
	shards  []*shard
	pool    *ants.Pool
	ports   *portSet
	fronts  []*front // the tiers before the sockets
	terms   atomic.Pointer[Settings]
	first   *settings // until Run
	ready   chan struct{}
	ended   chan struct{}              // the rotation has ended
	changes chan func(*rotation) error // for the rotation to do
}

// New makes all memory that receiving will need. It opens no port yet.
func New(cfg Config) (*Receiver, error) { return newReceiver(cfg) }

// newReceiver makes a server that has other sources besides the sockets.
func newReceiver(cfg Config, others ...source) (*Receiver, error) {
	if !cfg.Terms.complete() || cfg.Sink == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("ingest: terms, a sink, a clock and a log are required")
	}
	cfg.Readers = max(cfg.Readers, 1)
	// Twice as many workers as shards: a task that has just given up its
	// shard may still be on its way out when the next one is submitted.
	pool, err := ants.NewPool(2*(cfg.Readers+len(others)), ants.WithPreAlloc(true), ants.WithDisablePurge(true),
		ants.WithPanicHandler(func(v any) { panic(v) })) // not recovered: a shard would stay deaf
	if err != nil {
		return nil, fmt.Errorf("make the worker pool: %w", err)
	}
	first := newSettings(cfg.Terms)
	cfg.Terms = Settings{} // a change is to free the first ones
	s := &Receiver{cfg: cfg, pool: pool, first: first, ready: make(chan struct{}), ended: make(chan struct{}), changes: make(chan func(*rotation) error)}
	s.terms.Store(&first.Settings)
	var sources []*sockets
	for range cfg.Readers {
		src, err := newSockets()
		if err != nil {
			s.release()
			return nil, fmt.Errorf("make a reader: %w", err)
		}
		sources = append(sources, src)
		s.read(src)
	}
	for _, src := range others {
		s.read(src)
	}
	s.ports = newPortSet(orAny(cfg.Addresses), sources, newSetup(cfg.ReceiveBuffer, cfg.Readers, cfg.Log), cfg.Unfiltered, cfg.Log)
	if cfg.KnockPorts != nil {
		s.fronts = append(s.fronts, &front{tier: &knockSet{set: cfg.KnockPorts}})
	}
	return s, nil
}

// read gives a source a reader and a shard of its own.
func (s *Receiver) read(src source) {
	sh := newShard(s.pool, &s.terms, s.cfg.Sink, s.cfg.Now)
	s.shards, s.readers = append(s.shards, sh), append(s.readers, newReader(src, sh))
}

// Run receives until ctx ends or a reader fails. When it returns, every port
// is closed and every datagram that was read has been checked.
func (s *Receiver) Run(ctx context.Context) error {
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
		r := &rotation{Receiver: s, current: s.first}
		s.first = nil
		return r.run(ctx)
	})
	return g.Wait()
}

// Ready is closed once Run has opened, or tried to open, the first ports.
func (s *Receiver) Ready() <-chan struct{} { return s.ready }

// release waits for the workers and frees what New made.
func (s *Receiver) release() {
	for _, sh := range s.shards {
		sh.wait()
	}
	s.pool.Release()
	for _, r := range s.readers {
		r.source.close()
	}
	if s.ports == nil {
		return // New has failed before there were any
	}
	for _, t := range s.tiers() {
		if err := t.Close(); err != nil {
			s.cfg.Log.Warn("failed to close a tier", "tier", t.Counts().Name, "error", err)
		}
	}
}

// tiers are all places where the kernel refuses datagrams, in the order in which
// one passes them: the socket filter is the last.
func (s *Receiver) tiers() []tier {
	all := make([]tier, 0, len(s.fronts)+1)
	for _, f := range s.fronts {
		all = append(all, f)
	}
	return append(all, s.ports.filter)
}
