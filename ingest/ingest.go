package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"
	"golang.org/x/sync/errgroup"

	"sallyport/ingest/udp"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// Sink receives authenticated knocks. Several workers call Deliver concurrently.
// It must not block: it drops and counts a knock that it has no room for.
type Sink interface {
	Deliver(k verify.Knock, source netip.Addr)
}

// Config configures a Receiver. Settings, Sink, Now and Log are required.
type Config struct {
	// Addresses are the addresses to receive on; none means all addresses of the
	// host. The unspecified IPv6 address also receives IPv4, unless the list has
	// an IPv4 address; without IPv6 it receives IPv4 only.
	Addresses []netip.Addr // see udp.Addresses
	Readers   int          // the number of threads that read; 0: one
	// ReceiveBuffer is the size for each socket, in bytes; 0: the kernel's default.
	ReceiveBuffer int
	// Queue is how many datagrams of each reader may wait for the checks, from
	// MinQueue to MaxQueue, rounded up to a power of two; 0: DefaultQueue.
	Queue int
	// Unfiltered leaves the sockets without a filter: this process makes all
	// refusals.
	Unfiltered bool
	// Shield makes as many readers of rings again, so that a shield can come
	// (SetShield). Each has a queue of MinQueue, and its ring before that.
	Shield   bool
	Settings Settings
	// PortsChanged, if set, is called with the open ports, and when each one
	// expires, whenever that changes, so that a firewall can accept datagrams to
	// them. It is called after ports were opened or closed, by one goroutine at a
	// time, and owns the map. During Prepare, an error refuses the new settings.
	// At any other time it ends Run, unless only ports were removed: then the
	// call is repeated every second.
	PortsChanged func(open map[uint16]time.Time) error
	// PortsTraced, if set, is called with the ports that are open only for a trace, and
	// accept nothing, whenever these change: with none, when the trace ends. It owns the
	// list, and is called by the goroutine that calls PortsChanged, after it.
	PortsTraced func(open []uint16)
	Sink        Sink
	Now         func() time.Time // the wall clock
	Log         *slog.Logger
}

// Settings are the part of the configuration that can change while the receiver
// runs (Receiver.Prepare). They are immutable.
type Settings struct {
	Rules verify.Rules
	// Ports draws the port lists of a minute, each in the order of the knocks:
	// one list, and a second one while two port secrets are valid.
	Ports func(schedule.Minute) ([][]uint16, error)
	// PortSecrets names the port secrets of these lists, in their order. nil: the
	// knocks have no port secret.
	PortSecrets []schedule.SecretName
}

func (s Settings) complete() bool { return s.Ports != nil && s.Rules.Table != nil }

// Receiver opens the knock ports, receives datagrams on them, and delivers the
// authenticated knocks to a Sink. New makes one, Run runs it.
type Receiver struct {
	cfg      Config
	readers  []*reader
	shards   []*shard
	pool     *ants.Pool
	ports    *portSet
	fronts   []*front // the tiers before the sockets
	shield   *shield  // one of them; nil: none
	settings atomic.Pointer[Settings]
	first    *compiled // until Run
	ready    chan struct{}
	ended    chan struct{}              // the rotation has ended
	changes  chan func(*rotation) error // calls for the rotation goroutine
}

// New returns a receiver, and allocates all memory that it will need. It opens
// no port yet.
func New(cfg Config) (*Receiver, error) { return newReceiver(cfg) }

// newReceiver returns a receiver that has other sources in addition to sockets.
func newReceiver(cfg Config, others ...source) (*Receiver, error) {
	if !cfg.Settings.complete() || cfg.Sink == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("ingest: settings, a sink, a clock and a log are required")
	}
	cfg.Readers, cfg.Queue = max(cfg.Readers, 1), cmp.Or(cfg.Queue, DefaultQueue)
	if cfg.Queue < MinQueue || cfg.Queue > MaxQueue {
		return nil, fmt.Errorf("ingest: expected a queue of %d to %d datagrams, got %d", MinQueue, MaxQueue, cfg.Queue)
	}
	// Twice as many workers as shards: a task that has just released its shard
	// may still occupy a worker when the next one is submitted.
	shards := cfg.Readers + len(others)
	if cfg.Shield {
		shards += cfg.Readers
	}
	pool, err := ants.NewPool(2*shards, ants.WithPreAlloc(true), ants.WithDisablePurge(true),
		// Not recovered: otherwise the shard would never be drained again.
		ants.WithPanicHandler(func(v any) { panic(v) }))
	if err != nil {
		return nil, fmt.Errorf("make the worker pool: %w", err)
	}
	first := compile(cfg.Settings, cfg.Now())
	cfg.Settings = Settings{} // not retained: a change must free the first table
	r := &Receiver{
		cfg: cfg, pool: pool, first: first, ready: make(chan struct{}), ended: make(chan struct{}),
		changes: make(chan func(*rotation) error),
	}
	r.settings.Store(&first.Settings)
	var sources []*socketSource
	for range cfg.Readers {
		src, err := newSocketSource()
		if err != nil {
			r.release()
			return nil, fmt.Errorf("make a reader: %w", err)
		}
		sources = append(sources, src)
		r.addReader(src, cfg.Queue)
	}
	for _, src := range others {
		r.addReader(src, cfg.Queue)
	}
	if cfg.Shield {
		if r.shield, err = newShield(cfg.Readers); err != nil {
			r.release()
			return nil, fmt.Errorf("make a reader of rings: %w", err)
		}
		for _, src := range r.shield.sources {
			r.addReader(src, MinQueue) // the ring is its queue
		}
		r.fronts = append(r.fronts, &front{tier: r.shield})
	}
	setup := newSetup(cfg.ReceiveBuffer, cfg.Readers, cfg.Log)
	r.ports = newPortSet(udp.Addresses(cfg.Addresses).OnHost(), sources, setup, cfg.Unfiltered, cfg.Log)
	if cfg.PortsChanged != nil {
		r.fronts = append(r.fronts, &front{tier: &knockSet{set: cfg.PortsChanged}})
	}
	return r, nil
}

// addReader makes a reader and a shard for a source. So many datagrams may wait for the
// checks.
func (r *Receiver) addReader(src source, queue int) {
	sh := newShard(r.pool, &r.settings, r.cfg.Sink, r.cfg.Now, queue)
	r.shards, r.readers = append(r.shards, sh), append(r.readers, newReader(src, sh))
}

// Run receives until ctx ends, or a reader or the rotation fails. When it
// returns, every port is closed, and every datagram that was read has been
// checked.
func (r *Receiver) Run(ctx context.Context) error {
	defer r.release()
	g, ctx := errgroup.WithContext(ctx)
	for _, rd := range r.readers {
		g.Go(rd.run)
	}
	if r.shield != nil {
		g.Go(func() error {
			r.shield.beat(r.ended)
			return nil
		})
	}
	g.Go(func() error {
		defer func() {
			if r.shield != nil {
				r.shield.replace(nil) // while the readers run: its rings are emptied
			}
			for _, rd := range r.readers {
				rd.stop()
			}
		}()
		rot := &rotation{Receiver: r, current: r.first}
		r.first = nil
		return rot.run(ctx)
	})
	return g.Wait()
}

// Ready returns a channel that is closed once Run has opened, or tried to open,
// the first ports.
func (r *Receiver) Ready() <-chan struct{} { return r.ready }

// release waits for the workers, and closes everything that New has opened.
func (r *Receiver) release() {
	for _, sh := range r.shards {
		sh.wait()
	}
	r.pool.Release()
	for _, rd := range r.readers {
		rd.source.close()
	}
	if r.ports == nil {
		return // newReceiver failed before it made them
	}
	for _, t := range r.tiers() {
		if err := t.Close(); err != nil {
			r.cfg.Log.Warn("failed to close a tier", "tier", t.Counts().Name, "error", err)
		}
	}
}

// tiers returns all tiers of the kernel, in the order in which a datagram passes
// them. The socket filter is the last.
func (r *Receiver) tiers() []tier {
	all := make([]tier, 0, len(r.fronts)+1)
	for _, f := range r.fronts {
		all = append(all, f)
	}
	return append(all, r.ports.filter)
}
