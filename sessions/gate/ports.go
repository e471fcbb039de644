package gate

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// maxPorts is how many random ports of a service wait at a time.
const maxPorts = 256

// ErrPortTaken says that a random port is another socket's.
var ErrPortTaken = errors.New("the port is taken")

var (
	errNoPorts      = errors.New("the service has no random ports")
	errTooManyPorts = errors.New("too many random ports wait")
)

// PortOpener is an enforcer to whose service other ports can lead as well.
type PortOpener interface {
	access.Enforcer
	// OpenPort binds a port of the enforcer's host. The first connection, or
	// flow, that comes from the peer until a time of clock.Boot is one of the
	// service, and the port's last. If it fails, nothing is bound; ErrPortTaken
	// may be why.
	OpenPort(port uint16, p access.Peer, until time.Time) (RandomPort, error)
}

// RandomPort is a port for one connection (section 7.1 of the second paper),
// and then that connection: leases do not end it. Its methods may be called
// concurrently.
type RandomPort interface {
	State() PortState
	// End closes the port, if nobody has come. Cut: the connection ends too.
	End(cut bool)
}

// PortState is how far a random port has come.
type PortState uint8

// The states, in their order.
const (
	PortWaiting PortState = iota // bound, for nobody has come
	PortUsed                     // closed, and its connection lives
	PortOver
)

// PortsOnly returns an enforcer for a service whose own port another program
// listens on: leases do not open it, random ports lead through it. The given one
// must not be prepared; of what it listens on, the host counts.
func PortsOnly(o PortOpener) access.Enforcer { return portsOnly{o} }

type portsOnly struct{ PortOpener }

func (portsOnly) Apply([]access.Change) []error { return nil }

// openPort is a random port and whose it is.
type openPort struct {
	RandomPort
	client wire.Identifier
	peer   access.Peer
	until  time.Time
	ended  bool // a connection may live on
}

// ports are those of a service, until their connections are over: who is
// revoked loses these too.
type ports []*openPort

// end has ports end. Cut: their connections end with them.
func (p *ports) end(which func(*openPort) bool, cut bool) {
	for _, o := range *p {
		if which(o) {
			o.End(cut)
			o.ended = true
		}
	}
	p.prune()
}

func (p *ports) prune() {
	*p = slices.DeleteFunc(*p, func(o *openPort) bool { return o.State() == PortOver })
}

// next is when the first of them ends; false if none does.
func (p ports) next() (next time.Time, ok bool) {
	for _, o := range p {
		if !o.ended && (!ok || o.until.Before(next)) {
			next, ok = o.until, true
		}
	}
	return next, ok
}

// room makes room for one more that waits: the one before of the same client
// and address gives way, and of a client with too many the first to end. Nobody
// else's does.
func (p *ports) room(id wire.Identifier, peer access.Peer, most int) (replaced bool, err error) {
	p.prune()
	var own []*openPort
	waiting := 0
	for _, o := range *p {
		if o.State() != PortWaiting {
			continue
		}
		waiting++
		if o.client == id {
			own = append(own, o)
		}
		if o.client == id && o.peer == peer {
			o.End(false)
			replaced = true
			waiting--
			own = own[:len(own)-1]
		}
	}
	slices.SortFunc(own, func(a, b *openPort) int { return a.until.Compare(b.until) })
	for len(own) > 0 && len(own) >= most {
		own[0].End(false)
		own = own[1:]
		waiting--
	}
	if waiting >= maxPorts {
		return replaced, errTooManyPorts
	}
	return replaced, nil
}

// openPort opens a random port.
func (s *Service) openPort(o Command) error {
	if s.opener == nil {
		return fmt.Errorf("open %s: %w", s.Name, errNoPorts)
	}
	id, peer := o.Grant.Identifier, access.PeerOf(o.Grant.Address, s.prefixLen6)
	open := s.terms.OpenFor
	if o.For != 0 {
		open = o.For
	}
	open = min(open, s.terms.OpenMax)
	until := s.clock.Boot().Add(open)
	replaced, err := s.ports.room(id, peer, s.terms.Addresses)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.Name, err)
	}
	port, err := s.opener.OpenPort(o.Port, peer, until)
	if err != nil {
		return fmt.Errorf("open %s by a random port: %w", s.Name, err)
	}
	s.ports = append(s.ports, &openPort{RandomPort: port, client: id, peer: peer, until: until})
	if !replaced {
		s.log.Info("opened through a random port", "service", s.Name, "client", id, "address", o.Grant.Address,
			"for", open.Round(time.Second))
	}
	s.hurry()
	return nil
}

// beside returns a port of the host of an address.
func beside(listen string, port uint16) (string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

// taken tells why a port cannot be bound.
func taken(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrPortTaken, err)
	}
	return err
}
