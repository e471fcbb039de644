package gate

import (
	"errors"
	"fmt"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
)

// Action is what becomes of a service.
type Action uint8

// The actions.
const (
	Open Action = iota
	Close
)

// Command is what an authenticated operation asks of a service, for one address.
type Command struct {
	Service access.ServiceID
	Grant   sessions.Grant // whose lease it is, and for which address
	Action  Action
	// For is of Open how long from now on the service is open, OpenMax at the
	// most; a lease that lasts longer stays. 0: as a knock has it.
	For time.Duration
	// Port is of Open a random port that leads to the service for one
	// connection from the address, or one flow of UDP, begun within the time.
	// The service's own port stays as it is. 0: open that one.
	Port uint16
}

// ErrNotAllowed says that a client may not open a service.
var ErrNotAllowed = errors.New("the client has no right to the service")

// Execute carries out an order of a client who has the right to the service. When it
// fails, nothing is open that was not before. It may be called concurrently.
func (s *Services) Execute(o Command) error {
	i, err := s.place(o)
	if err != nil {
		return err
	}
	return s.list[i].Execute(o)
}

// Execute carries out an order; which service it names does not matter.
func (s *Service) Execute(o Command) error {
	if err := o.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut:
		return ErrClosed
	case o.Action == Close:
		s.release(o.Grant)
		return nil
	case o.Port != 0:
		return s.openPort(o)
	}
	r := &request{service: s, grant: o.Grant, fixed: o.For}
	open(s.enforcers, []*request{r})
	return r.err
}

func (o Command) validate() error {
	switch {
	case o.Action > Close:
		return fmt.Errorf("gate: there is no action %d", o.Action)
	case !o.Grant.Address.IsValid():
		return errors.New("gate: an order without an address")
	case o.For < 0:
		return fmt.Errorf("gate: an order for %s", o.For)
	case o.Action == Close && (o.For != 0 || o.Port != 0):
		return errors.New("gate: an order to close, with a time or a port")
	}
	return nil
}

// release ends what a client has at an address, as its own end would.
func (s *Service) release(g sessions.Grant) {
	if peer, some := s.forgetLease(g); some {
		s.ended([]access.Peer{peer}, s.terms.Cut)
	}
}

// forgetLease is the part of release that no enforcer takes part in. It reports
// whether a lease has ended, and of which peer.
func (s *Service) forgetLease(g sessions.Grant) (peer access.Peer, some bool) {
	peer = access.PeerOf(g.Address, s.prefixLen6)
	s.ports.end(func(p *openPort) bool { return p.client == g.Identifier && p.peer == peer }, s.terms.Cut)
	if some = s.leases.Remove(g.Identifier, peer); some {
		s.fewer = true
		s.log.Info("closed on request", "service", s.Name, "client", g.Identifier, "address", g.Address)
	}
	return peer, some
}
