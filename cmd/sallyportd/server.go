package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/ingest"
	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// server is the way of a datagram, wired: ingest -> sessions -> gate.
type server struct {
	ingest   *ingest.Server
	sessions *sessions.Sessions
	web      *gate.Web
	log      *slog.Logger
}

// newServer makes everything that cfg asks for. Nothing is open before run.
func newServer(cfg config, now func() time.Time, log *slog.Logger) (*server, error) {
	handler, err := handlerOf(cfg.service)
	if err != nil {
		return nil, err
	}
	s := &server{log: log}
	s.web = gate.NewWeb(gate.WebConfig{
		Name: cfg.service.name, Listen: cfg.service.listen, OpenFor: cfg.service.openFor, OpenMax: cfg.service.openMax,
		Anyone: cfg.service.anyone, Handler: handler, Log: log,
	})
	keys := make([]verify.Client, len(cfg.clients))
	slots := make([]sessions.Client, len(cfg.clients))
	for i, c := range cfg.clients {
		keys[i] = verify.Client{Identifier: c.identifier, Secret: c.secret}
		slots[i] = sessions.Client{Identifier: c.identifier, Mark: c.mark}
	}
	table, err := verify.NewTable(keys)
	if err != nil {
		return nil, err
	}
	workers := cfg.readers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	s.sessions, err = sessions.New(sessions.Config{Clients: slots, Shards: workers, Gate: s.web, Log: log})
	if err != nil {
		return nil, err
	}
	s.ingest, err = ingest.New(ingest.Config{
		Addresses: cfg.listen,
		Readers:   workers,
		Rules:     verify.Rules{Table: table, Ports: cfg.ports, Tolerance: cfg.tolerance},
		Ports: func(m schedule.Minute) ([]uint16, error) {
			return schedule.Ports(cfg.generator, cfg.portSecret, m, cfg.ports)
		},
		Sink: s.sessions,
		Now:  now,
		Log:  log,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare to receive: %w", err)
	}
	return s, nil
}

func handlerOf(cfg serviceConfig) (http.Handler, error) {
	if cfg.root == "" {
		return gate.Pages(), nil
	}
	return gate.Directory(cfg.root)
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
	sessionsCtx := stage(ctx, s.ingest.Run)
	webCtx := stage(sessionsCtx, s.sessions.Run)
	statsCtx := stage(webCtx, s.web.Run)
	stage(statsCtx, func(ctx context.Context) error {
		s.logTraffic(ctx)
		return nil
	})
	return g.Wait()
}
