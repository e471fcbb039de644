package daemon

import (
	"context"
	"errors"
	"maps"
	"slices"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/holder"
	"sallyport/verify/wire"
)

// change is a reload in progress: what each step has prepared.
type change struct {
	cfg  *config.Config
	plan plan

	contents []func()                    // the content or upstream of services
	clients  func(context.Context) error // the clients that may knock
	ports    func() error                // the knock ports, and the secrets of knocks
	access   *gate.Prepared              // the services that each client may open, and for how long

	undo []func()
}

// abort undoes all that was prepared, the last step first.
func (c *change) abort() {
	for _, undo := range slices.Backward(c.undo) {
		undo()
	}
}

// step is one part's share in a reload. Its prepare does everything that can fail,
// and changes nothing that is in force.
type step struct {
	name    string
	prepare func(context.Context, *change) error
}

// reloadSteps returns the steps in their order. The gate's is the last: while it is
// prepared, peers are let in by the old and by the new terms.
func (s *Server) reloadSteps() []step {
	return []step{
		{"read the content of services", s.prepareContents},
		{"write to the state file", s.prepareState},
		{"change the clients", s.prepareClients},
		{"change the ports", s.preparePorts},
		{"change what clients may open", s.prepareAccess},
	}
}

func (s *Server) prepareContents(_ context.Context, c *change) error {
	for i := range c.cfg.Services {
		apply, err := s.services[i].Load(&c.cfg.Services[i])
		if err != nil {
			return err
		}
		c.contents = append(c.contents, apply)
	}
	if s.challenge == nil {
		return nil
	}
	apply, err := s.challenge.carriers.prepare(c.cfg)
	if err != nil {
		return err
	}
	c.contents = append(c.contents, apply)
	return nil
}

// prepareState raises marks in the record. If the reload is aborted, the record
// stays more careful than necessary.
func (s *Server) prepareState(_ context.Context, c *change) error {
	s.markRevived(&c.plan)
	return s.raiseNonces(c.plan.slots)
}

func (s *Server) prepareClients(_ context.Context, c *change) (err error) {
	c.clients, err = s.sessions.Prepare(c.plan.slots)
	return err
}

// preparePorts makes the firewall's holder read which ports may receive knocks, and
// prepares to open them.
func (s *Server) preparePorts(ctx context.Context, c *change) error {
	settle := func(bool) error { return nil }
	if s.holder != nil && c.cfg != s.reloads.current {
		f, err := s.holder.Reread(c.plan.trial)
		switch {
		case err == nil:
			settle = f
			c.undo = append(c.undo, func() { settle(false) })
		// The next holder reads it when it begins, and puts nothing on trial.
		case !errors.Is(err, holder.ErrDead) || c.plan.trial != nil:
			return err
		}
	}
	commit, abort, err := s.ingest.Prepare(ctx, c.plan.settings)
	if err != nil {
		return err
	}
	c.undo = append(c.undo, abort)
	c.ports = func() error {
		if err := commit(); err != nil {
			return err
		}
		if err := settle(true); err != nil {
			s.env.Log.Warn("failed to notify the firewall holder of the reload", "error", err)
		}
		return nil
	}
	return nil
}

func (s *Server) prepareAccess(_ context.Context, c *change) (err error) {
	kept := s.challenge.keepsOwnerless(c.plan.operations)
	isClient, expired := c.plan.isClient, c.plan.expiries[:c.plan.expired].set()
	c.access, err = s.gate.Prepare(gate.Update{
		Restricted: maps.All(c.plan.restricted), Policies: c.plan.leases,
		IsClient: func(id wire.Identifier) bool { return isClient[id] || kept && ownerless(id) },
		Gone:     c.plan.gone,
		Replaced: func(id wire.Identifier) bool { return c.plan.readded[id] },
		Expired:  func(id wire.Identifier) bool { return expired[id] },
		Waits:    func(id wire.Identifier) bool { return !isClient[id] && s.reloads.missing.has(id) },
	})
	if err == nil {
		c.undo = append(c.undo, c.access.Abort)
	}
	return err
}

// commit puts a prepared change in force. A new client is restricted before its
// knocks are accepted. A removed client loses its leases in the first step, and opens
// nothing from then on. An error means that the server
// stops.
func (s *Server) commit(ctx context.Context, c change) (err error) {
	defer func() {
		if err != nil {
			err = &admin.StoppingError{Err: err}
		}
	}()
	c.access.Restrict() // before all that may wait for etcd
	// Before removed clients are without restrictions: a grant of another server that opens
	// now is compared with this policy, or ends by Commit.
	s.setPolicy(c.plan.policy)
	if s.challenge != nil {
		s.challenge.update(c.plan.operations)
	}
	if err := c.clients(ctx); err != nil {
		return err
	}
	c.access.Commit()
	s.withdraw(slices.DeleteFunc(slices.Clone(c.plan.gone), s.reloads.missing.has)...)
	for _, apply := range c.contents {
		apply()
	}
	if err := c.ports(); err != nil {
		return err
	}
	s.connections.SetRules(c.plan.settings.Rules)
	s.setParts(c.plan.parts)
	s.shield.reload(c.cfg, len(c.plan.slots))
	_, err = s.begin(ctx)
	return err
}
