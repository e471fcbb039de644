package daemon

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sync/errgroup"

	"sallyport/cmd/sallyportd/internal/clients"
)

// Control is how a running server is controlled, apart from the admin socket.
type Control struct {
	Hangups <-chan os.Signal // each asks for a reload; one that came before Run counts
	Clients clients.State    // of the clients file when it was read
}

// Serve is Run and, once the server is ready, handles Control and the admin socket.
func (s *Server) Serve(ctx context.Context, c Control) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		defer stop()
		return s.Run(ctx)
	})
	g.Go(func() error {
		select {
		case <-s.Ready():
			<-s.interrupted.opened // a revocation from here on finds the leases
			s.logServing()
			alive := s.keepAlive(ctx)
			defer alive()
			return s.control(ctx, c)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// Run serves until ctx ends or a part fails. Then the parts stop in the order of a
// datagram's way, each when the one before it has ended.
func (s *Server) Run(ctx context.Context) error {
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	var g errgroup.Group
	// stage runs a part, and returns the context that ends once it has ended.
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
	// This server has the state directory, so the previous one has ended and has
	// released its ports.
	s.gate.BindPorts()
	if s.shield != nil {
		g.Go(func() error {
			s.shield.run(ctx)
			return nil
		})
	}
	if s.holder == nil && s.shield != nil {
		g.Go(func() error { return s.shield.watchHolder(ctx, &s.observed) })
	}
	if s.holder != nil {
		g.Go(func() error { return s.watchHolder(ctx, fail) })
		g.Go(func() error {
			s.knocks.run(ctx)
			return nil
		})
		g.Go(func() error {
			s.watchCarried(ctx)
			return nil
		})
	}
	if s.env.Programs != nil {
		g.Go(func() error {
			s.watchPrograms(ctx)
			return nil
		})
	}
	g.Go(func() error {
		s.observe(ctx)
		return nil
	})
	g.Go(func() error {
		s.openInterrupted() // before the manager, which may take seconds
		s.adoptStored(s.takeStored())
		close(s.interrupted.opened)
		s.watchKept(ctx)
		return nil
	})
	g.Go(func() error {
		s.watchExpiries(ctx)
		return nil
	})
	g.Go(func() error {
		s.watchTooFar(ctx)
		return nil
	})
	if s.fleet != nil {
		g.Go(func() error {
			s.followFleet(ctx)
			return nil
		})
		g.Go(func() error {
			s.presence.Run(ctx)
			return nil
		})
	}
	if s.list != nil {
		g.Go(func() error {
			s.followList(ctx)
			return nil
		})
	}
	if s.shared != nil {
		g.Go(func() error { return s.shared.Run(ctx) })
	}
	if s.split != nil {
		g.Go(func() error { return s.split.Run(ctx, s.sessions.Complete) })
	}
	g.Go(func() error { return s.awaitServing(ctx) })
	if s.self.Tester != nil {
		g.Go(func() error { return s.self.run(ctx, s.start.ready) })
	}
	steps := s.watchSteps()
	g.Go(func() error {
		steps.run(ctx, s)
		return nil
	})
	suspended := s.suspended()
	g.Go(func() error {
		s.watchGaps(ctx, suspended)
		return nil
	})
	ingestEnded := stage(ctx, s.ingest.Run)
	decided := stage(ingestEnded, func(done context.Context) error {
		var g errgroup.Group
		g.Go(func() error { return s.sessions.Run(done) })
		if s.challenge != nil {
			g.Go(func() error {
				err := s.challenge.run(ctx)
				if err != nil {
					fail()
				}
				return err
			})
		}
		return g.Wait()
	})
	finished := stage(decided, func(ctx context.Context) error {
		<-ctx.Done()
		s.finish()
		return nil
	})
	gateClosed := stage(finished, s.gate.Run)
	commandsEnded := stage(gateClosed, s.commands.Run)
	stage(commandsEnded, func(ctx context.Context) error {
		s.logCounters(ctx)
		return nil
	})
	err := errors.Join(g.Wait(), s.closePrograms())
	s.recordInterrupted()
	s.kept.flush() // it logs errors; the state directory is still locked
	err = errors.Join(err, s.leaveFleet(), s.state.Close())
	switch {
	case s.holder == nil:
		s.shield.stop()
		return err
	case err == nil:
		return s.holder.Stop()
	}
	return errors.Join(err, s.holder.Close()) // which the holder treats as a crash
}
