package gate

import (
	"cmp"
	"fmt"
	"time"

	"sallyport/sessions/gate/access"
)

// A random port of a service with a program or commands is bound at once, since the
// client expects it, but admits no peer before the program is ready and the opening
// command has succeeded. A client that connects before gets no answer, and TCP
// retries for it.

// openPort opens a random port.
func (s *Service) openPort(c Command) error {
	if s.opener == nil || s.requireISN || s.proves {
		return fmt.Errorf("open %s: %w", s.Name, errNoPorts)
	}
	return s.openWay(c, func(p access.Peer, until time.Time) (RandomPort, error) { return s.opener.OpenPort(c.Port, p, until) })
}

// openWay opens a random port, or lets in a tunnel, which is like one: open does so.
func (s *Service) openWay(c Command, open func(access.Peer, time.Time) (RandomPort, error)) error {
	o := &openPort{
		client: c.Grant.Identifier, peer: s.sourceOf(c),
		number: c.Port, address: c.Grant.Address, pending: s.commands != nil,
	}
	if c.Shared {
		o.shared = c.Operation
	}
	lasts := min(cmp.Or(c.For, s.terms.OpenFor), s.terms.OpenMax)
	if c.UntilClosed {
		lasts = untilClosed
	}
	o.until = s.clock.Boot().Add(lasts)
	if err := s.ports.makeRoom(o); err != nil {
		return fmt.Errorf("open %s: %w", s.Name, err)
	}
	admitted := o.peer
	o.open = !o.pending && s.portObstacle() == nil
	if !o.open {
		admitted = access.Peer{}
	}
	var err error
	if o.RandomPort, err = open(admitted, o.until); err != nil {
		return fmt.Errorf("open %s by %s: %w", s.Name, o.way(), err)
	}
	if err := s.beginPort(o, c); err != nil {
		o.End(true)
		return fmt.Errorf("open %s by %s: %w", s.Name, o.way(), err)
	}
	s.ports = append(s.ports, o)
	if o.open {
		s.logPort(o)
	} else {
		s.logWaiting(o)
	}
	s.updateNeed()
	s.reschedule()
	return nil
}

// way names o in errors: a tunnel has no number.
func (o *openPort) way() string {
	if o.number == 0 {
		return "a tunnel"
	}
	return "a random port"
}

func (s *Service) logWaiting(o *openPort) {
	reason := o.waits(s.portObstacle())
	if o.number == 0 {
		s.log.Info("tunnel waits", "service", s.Name, "client", o.client, "address", access.AddressText(o.address), "reason", reason)
		return
	}
	s.log.Info("random port waits", "service", s.Name, "client", o.client, "address", access.AddressText(o.address), "port", o.number, "reason", reason)
}

// waits returns why a port does not admit its peer yet.
func (o *openPort) waits(obstacle error) error {
	if obstacle != nil {
		return obstacle
	}
	return errPending
}

// beginPort begins the commands of a random port. For them, each port is
// another lease.
func (s *Service) beginPort(o *openPort, c Command) (err error) {
	if _, ok := o.RandomPort.(Admitter); !ok && s.defers() {
		return errPortCannotWait
	}
	if s.commands == nil {
		return nil
	}
	o.commands, err = s.commands.Begin(CommandLease{
		Client: o.client, Operation: c.Operation, Address: o.address, Peer: o.peer, Port: o.number, Until: s.wall(o.until),
	}, func(err error) { s.portCommandDone(o, err) })
	return err
}

// portCommandDone opens a random port whose opening command has succeeded, or ends it.
func (s *Service) portCommandDone(o *openPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || o.ended || !o.pending || o.commands == nil {
		return // it has ended meanwhile
	}
	o.pending = false
	if err == nil {
		s.updatePort(o)
		return
	}
	o.commands = nil // which know that
	s.log.Error("opening command failed", "service", s.Name, "client", o.client, "address", access.AddressText(o.address), "port", o.number, "error", err)
	s.endPorts(func(p *openPort) bool { return p == o }, true, openFailed)
	s.wakeRun()
}

// portObstacle returns why random ports admit no peer; nil: they do. The service's own
// port does not matter.
func (s *Service) portObstacle() error {
	for o, err := range s.obstacles {
		if obstacle(o) != portUnbound && err != nil {
			return err
		}
	}
	return nil
}

// updatePorts makes all random ports admit their peers, or none.
func (s *Service) updatePorts() {
	for _, o := range s.ports {
		s.updatePort(o)
	}
}

// updatePort makes a random port to which no connection has come admit its peer, or
// none. A port that cannot be changed ends.
func (s *Service) updatePort(o *openPort) {
	open := !o.pending && s.portObstacle() == nil
	if o.ended || o.open == open || o.State() != PortWaiting {
		return
	}
	admitted, until := o.peer, o.until
	if !open {
		admitted, until = access.Peer{}, time.Time{}
	}
	a, ok := o.RandomPort.(Admitter)
	err := errPortCannotWait
	if ok {
		err = a.Admit(admitted, until)
	}
	if err != nil {
		s.log.Error("failed to open or close a random port", "service", s.Name, "client", o.client, "address", access.AddressText(o.address), "port", o.number, "error", err)
		o.End(true)
		o.ended = true
		o.finish(openFailed)
		return
	}
	if o.open = open; open && !o.took {
		s.logPort(o)
	}
}

// logPort logs a random port that admits its peer for the first time.
func (s *Service) logPort(o *openPort) {
	o.took = true
	if o.number == 0 {
		s.log.Info("opened through a tunnel", "service", s.Name, "client", o.client, "address", access.AddressText(o.address),
			"for", o.until.Sub(s.clock.Boot()).Round(time.Second))
		return
	}
	s.log.Info("opened through a random port", "service", s.Name, "client", o.client, "address", access.AddressText(o.address),
		"port", o.number, "for", o.until.Sub(s.clock.Boot()).Round(time.Second))
}
