package gate

import (
	"errors"
	"fmt"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
)

// Action is what a Command does with a service.
type Action uint8

// The actions.
const (
	Open Action = iota
	Close
)

// Command is the request of an authenticated operation to one service, for one
// address, or for a connection from any.
type Command struct {
	Service access.ServiceID
	Grant   sessions.Grant // the client and address of the lease
	// AnyAddress is that the exchange is for a connection: Grant has no address, and
	// the lease admits every one. Only a service whose connections prove themselves
	// opens so, or a random port, which the first connection uses up.
	AnyAddress bool
	Action     Action
	// For is, of Open, how long from now on the service is open, at most
	// OpenMax; a longer lease stays as it is. 0: as after a knock.
	For time.Duration
	// Port is, of Open, a random port that leads to the service for one
	// connection from the address, or one flow of UDP, which must begin within
	// the time. The service's own port stays as it is. 0: open that port.
	Port uint16
	// UntilClosed is, of Open, that the service is open until a Close, or until the
	// client loses the right. OpenMax does not limit that. For and Port are 0 then.
	UntilClosed bool
	// Operation is the name of the operation, for Services.Leases.
	Operation string
	// Resumed: the lease was in force before a restart, or before the enforcer was lost.
	Resumed bool
	// Shared: the operation belongs to no client. Its random ports and tunnels give way as
	// those of one client, whatever their addresses.
	Shared bool
}

// ErrNotAllowed means that a client may not open a service.
var ErrNotAllowed = errors.New("the client may not open the service")

// Execute carries out a command of a client, if the client may open the
// service. If it fails, it has opened nothing. It may be called concurrently.
func (s *Services) Execute(c Command) error {
	i, err := s.place(c)
	if err != nil {
		return err
	}
	return s.list[i].Execute(c)
}

// Execute carries out a command, whichever service the command names.
func (s *Service) Execute(c Command) error {
	if err := c.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case c.Action == Close:
		s.closeLease(c)
		return nil
	case c.Port != 0:
		return s.openPort(c)
	}
	r := c.request(s)
	open(s.enforcers, []*request{r})
	return r.err
}

func (c Command) request(s *Service) *request {
	return &request{service: s, grant: c.Grant, any: c.AnyAddress, fixed: c.For, keeps: c.UntilClosed, label: c.Operation, resumed: c.Resumed}
}

func (c Command) validate() error {
	switch {
	case c.Action > Close:
		return fmt.Errorf("gate: unknown action %d", c.Action)
	case !c.Grant.Address.IsValid() && !c.AnyAddress:
		return errors.New("gate: a command requires an address")
	case c.Grant.Address.IsValid() && c.AnyAddress:
		return errors.New("gate: a command for any address cannot have an address")
	case c.UntilClosed && (c.Action != Open || c.For != 0 || c.Port != 0):
		return errors.New("gate: only a command to open the service's own port, without a time, can be until closed")
	case c.For < 0:
		return fmt.Errorf("gate: expected a duration of at least 0, got %s", c.For)
	case c.Action == Close && (c.For != 0 || c.Port != 0):
		return errors.New("gate: a command to close cannot have a time or a port")
	}
	return nil
}

// sourceOf returns the addresses that a command is for.
func (s *Service) sourceOf(c Command) access.Peer {
	if c.AnyAddress {
		return access.AnyAddress
	}
	return access.PeerIn(c.Grant.Address, s.prefixLen4, s.prefixLen6)
}

// closeLease ends a client's lease and random ports at an address, as if their
// time had ended. Those for any address are others.
func (s *Service) closeLease(c Command) {
	if gone := s.removeLeases(c); len(gone) > 0 {
		s.revokePeers(peersOf(gone), s.terms.Cut, false)
		s.cutProved(gone, s.terms.Cut)
		s.logEnded(gone, Requested)
	}
}

// removeLeases is the part of closeLease that does not involve the enforcers. It
// returns the leases that have ended.
func (s *Service) removeLeases(c Command) (gone []ended) {
	id, peer := c.Grant.Identifier, s.sourceOf(c)
	s.endPorts(func(p *openPort) bool { return p.client == id && p.peer == peer }, s.terms.Cut, Requested)
	if gone = s.leases.RemoveFrom(id, peer); len(gone) > 0 {
		s.shortened = true
	}
	return gone
}
