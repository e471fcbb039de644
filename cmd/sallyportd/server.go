package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/cmd/internal/cli"
	"sallyport/ingest"
	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/helper"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// stateWait is how long the server before this one may take to stop.
const stateWait = 5 * time.Second

// server is the way of a datagram, wired: ingest -> sessions -> state -> gate.
type server struct {
	ingest   *ingest.Server
	sessions *sessions.Sessions
	state    *state.Store
	gate     *gate.Services
	services []runningService
	helper   *helper.Client // nil: none, and no firewall
	grants   *watched       // the gate's
	second   *challenger    // nil: there is no second protocol
	log      *slog.Logger
	clients  int // at the start
}

// parts are what a configuration comes to, each for one stage. All that can
// be wrong with it has been found when they are made.
type parts struct {
	tolerance time.Duration
	terms     ingest.Terms
	slots     []sessions.Client
	services  map[access.ServiceID]gate.Terms
	contents  []content
	isClient  map[wire.Identifier]bool
	// The clients that may not open every service.
	restricted gate.Restricted
	orders     orders
	idle       []string // operations that nobody may use, and why
}

func partsOf(cfg config) (p parts, err error) {
	keys := make([]verify.Client, len(cfg.clients))
	p.slots = make([]sessions.Client, len(cfg.clients))
	p.isClient = make(map[wire.Identifier]bool, len(cfg.clients))
	for i, c := range cfg.clients {
		keys[i] = verify.Client{Identifier: c.identifier, Secret: c.secret, Previous: c.previous, Until: c.until}
		p.slots[i] = sessions.Client{Identifier: c.identifier, Mark: c.mark}
		p.isClient[c.identifier] = true
	}
	table, err := verify.NewTable(keys)
	if err != nil {
		return p, err
	}
	for i := range p.slots {
		p.slots[i].Floor = table.Floor(p.slots[i].Identifier)
	}
	p.terms = ingest.Terms{
		Rules: verify.Rules{Table: table, Ports: cfg.ports, Tolerance: cfg.tolerance},
		Ports: cfg.portLists,
	}
	p.tolerance = cfg.tolerance
	p.services = map[access.ServiceID]gate.Terms{}
	for _, s := range cfg.services {
		c, err := contentOf(s)
		if err != nil {
			return p, err
		}
		p.contents = append(p.contents, c)
		p.services[access.ID(s.name)] = s.terms
	}
	if p.restricted, err = restrictions(cfg); err != nil {
		return p, err
	}
	p.orders, p.idle, err = ordersOf(cfg)
	return p, err
}

// newServer makes everything that cfg asks for. Nothing is open before run,
// but the state directory is taken: who does not call run, calls s.state.Close.
// The helper may be nil: then the configuration has to do without a firewall.
func newServer(ctx context.Context, cfg config, h *helper.Client, now func() time.Time, log *slog.Logger) (_ *server, err error) {
	p, err := partsOf(cfg)
	if err != nil {
		return nil, err
	}
	s := &server{log: log, clients: len(cfg.clients), helper: h}
	s.state, err = state.Open(ctx, state.Config{
		Dir: cfg.stateDir, Relaxed: cfg.relaxed, Tolerance: cfg.tolerance, Now: now(), Wait: stateWait, Log: log,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.state.Close()
		}
	}()
	doubt := s.state.Doubt()
	if doubt.After(now()) {
		log.Warn("nonces may have been used of which no record is left: knocks are refused that are stamped up to a time", "stamped_until", doubt.UTC().Format(time.RFC3339))
	}
	if err := s.state.Raise(p.slots); err != nil {
		return nil, err
	}
	var list []*gate.Service
	wall := newWall(cfg, h)
	for i, c := range cfg.services {
		service := newService(c, p.contents[i], wall, hostClock, log)
		s.services = append(s.services, service)
		list = append(list, service.service)
	}
	if s.gate, err = gate.NewServices(list, p.restricted); err != nil {
		return nil, err
	}
	workers := cfg.readers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	s.grants = watch(s.gate, s.gate.Names)
	s.sessions, err = sessions.New(sessions.Config{
		Clients: p.slots, Shards: workers, Doubt: doubt.Unix(), Gate: s.grants, Journal: s.state, Log: log,
	})
	if err != nil {
		return nil, err
	}
	s.ingest, err = ingest.New(ingest.Config{
		Addresses:     cfg.listen,
		Readers:       workers,
		ReceiveBuffer: cfg.buffer,
		Unfiltered:    cfg.unfiltered,
		Terms:         p.terms,
		Opened:        announces(cfg, h),
		Sink:          s.sessions,
		Now:           now,
		Log:           log,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare to receive: %w", err)
	}
	if cfg.challenge != nil {
		if s.second, err = newChallenger(cfg, p.orders, s.carryOut, log); err != nil {
			return nil, err
		}
	}
	s.tellIdle(p)
	return s, nil
}

// apply brings a running server in line with parts that were made from
// another configuration. Clients that are new are known, and restricted, before
// their knocks are taken; those that have left get no grant, and lose their
// leases.
func (s *server) apply(ctx context.Context, p parts) error {
	isClient := func(id wire.Identifier) bool { return p.isClient[id] || s.second != nil && s.second.holds(id) }
	commitSessions, err := s.sessions.Prepare(p.slots)
	if err != nil {
		return err
	}
	change, err := s.gate.Prepare(gate.Update{Restricted: p.restricted, Terms: p.services, IsClient: isClient})
	if err != nil {
		return err
	}
	defer change.Abort()
	if err := s.state.Widen(p.tolerance); err != nil {
		return err
	}
	if err := s.state.Raise(p.slots); err != nil {
		return err
	}
	if s.second != nil {
		s.second.update(p.orders)
	}
	s.tellIdle(p)
	change.Restrict()
	if err := commitSessions(ctx); err != nil {
		return err
	}
	// Before what may fail: nobody stays who has left.
	change.Commit()
	for i, service := range s.services {
		service.update(p.contents[i])
	}
	return s.ingest.Update(ctx, p.terms)
}

// carryOut does what an operation asks for.
func (s *server) carryOut(o gate.Order, operation string) error {
	if err := s.gate.Do(o); err != nil || o.Action == gate.Close {
		return err
	}
	s.grants.tell(o.Grant, operation, []string{s.serviceName(o.Service)})
	return nil
}

func (s *server) serviceName(id access.ServiceID) string {
	for _, r := range s.services {
		if r.service.ID() == id {
			return r.service.Name
		}
	}
	return id.String()
}

// tellIdle says which operations nobody may use.
func (s *server) tellIdle(p parts) {
	for _, why := range p.idle {
		s.log.Warn(why)
	}
}

// run serves until ctx ends or a part fails. Then the parts stop in the order
// of a datagram's way, each when nothing can come from the one before it.
func (s *server) run(ctx context.Context) error {
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	var g errgroup.Group
	stage := func(ctx context.Context, run func(context.Context) error) context.Context {
		next, done := context.WithCancel(context.WithoutCancel(ctx))
		g.Go(func() error {
			defer done()
			err := run(ctx)
			if err != nil {
				fail()
			}
			return err
		})
		return next
	}
	for i, service := range s.services {
		if err := service.prepare(); err != nil {
			s.log.Warn("a service's port is not there yet: the next grant tries again", "service", s.gate.Names(wire.Identifier{})[i], "error", err)
		}
	}
	if s.helper != nil {
		// Without it nothing can be opened: better to be started anew.
		g.Go(func() error { return s.watchHelper(ctx, fail) })
	}
	sessionsCtx := stage(ctx, s.ingest.Run)
	gateCtx := stage(sessionsCtx, func(done context.Context) error {
		if s.second == nil {
			return s.sessions.Run(done)
		}
		var g errgroup.Group
		g.Go(func() error { return s.sessions.Run(done) })
		g.Go(func() error {
			err := s.second.run(ctx)
			if err != nil {
				fail()
			}
			return err
		})
		return g.Wait()
	})
	statsCtx := stage(gateCtx, s.gate.Run)
	stage(statsCtx, func(ctx context.Context) error {
		s.logTraffic(ctx)
		return nil
	})
	err := errors.Join(g.Wait(), s.state.Close())
	switch {
	case s.helper == nil:
		return err
	case err == nil:
		return s.helper.Stop()
	}
	return errors.Join(err, s.helper.Close()) // which it takes for a crash
}

// watchHelper fails when the helper dies.
func (s *server) watchHelper(ctx context.Context, fail func()) error {
	select {
	case <-s.helper.Dead():
		fail()
		return cli.WithHint(s.helper.Err(), "the firewall stays closed; start the server again, with CAP_NET_ADMIN as before")
	case <-ctx.Done():
		return nil
	}
}
