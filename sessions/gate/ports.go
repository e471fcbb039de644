package gate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

const (
	// maxPorts is the number of random ports of a service that may wait at a time.
	maxPorts = 256
	// portsPerClient is the number of random ports of a client that may wait at a
	// time: a client may begin several connections at once, and for an operation
	// without a client, all hosts behind one translator are one client.
	portsPerClient = 32
)

// ErrPortTaken means that another socket has a random port.
var ErrPortTaken = errors.New("the port is in use")

var (
	errNoPorts        = errors.New("the service has no random ports")
	errPortCannotWait = errors.New("the random ports of the service cannot wait for a program or a command")
	errTooManyPorts   = fmt.Errorf("%d random ports of the service wait for a connection, which is the limit", maxPorts)
)

// PortOpener is an enforcer that can open other ports for its service too.
type PortOpener interface {
	access.Enforcer
	// OpenPort binds a port of the enforcer's host. The first connection, or
	// flow, that comes from the peer, which may be access.AnyAddress, until a time of clock.Boot reaches the
	// service; it is the port's only one. If OpenPort fails, for example with
	// ErrPortTaken, nothing is bound.
	OpenPort(port uint16, p access.Peer, until time.Time) (RandomPort, error)
}

// RandomPort is a port for one connection (section 7.1 of the second paper),
// and then that connection: leases do not end it. Its methods may be called
// concurrently.
type RandomPort interface {
	State() PortState
	// End closes the port, if no connection has come. Cut: the connection ends
	// too.
	End(cut bool)
}

// Admitter is a RandomPort that can wait for a program or a command: it is bound, and
// answers no peer.
type Admitter interface {
	RandomPort
	// Admit admits a peer until a time of clock.Boot, instead of the one before; zero:
	// none. If a connection has come, it does nothing.
	Admit(p access.Peer, until time.Time) error
}

// PortState is the state of a random port.
type PortState uint8

// The states, in their order.
const (
	PortWaiting PortState = iota // bound; no connection has come
	PortUsed                     // a connection has come, which may wait for the service
	PortOver
)

// PortsOnly returns an enforcer for a service on whose own port another program
// listens: leases do not open that port, random ports lead through the
// enforcer. The given one must not be prepared; only the host of its address is
// used.
func PortsOnly(o PortOpener) access.Enforcer { return portsOnly{o} }

type portsOnly struct{ PortOpener }

func (portsOnly) Apply([]access.Change) []error { return nil }

// openPort is a random port and its client.
type openPort struct {
	RandomPort
	client wire.Identifier
	shared string // the operation, if it belongs to no client
	peer   access.Peer
	until  time.Time
	ended  bool // its connection may continue

	number   uint16
	address  netip.Addr     // that has requested it
	pending  bool           // its opening command has not succeeded yet
	open     bool           // it admits the peer
	took     bool           // it has admitted it at some time
	commands CommandedLease // nil: none have begun, or their end is reported
}

// finish reports the end of the port to its commands, once.
func (p *openPort) finish(reason EndReason) {
	if p.commands != nil {
		p.commands.End(reason)
		p.commands = nil
	}
}

// ports are the random ports of a service, until their connections are over: a
// revoked client loses these too.
type ports []*openPort

// end ends ports. Cut: their connections end with them.
func (p *ports) end(which func(*openPort) bool, cut bool, reason EndReason) {
	for _, o := range *p {
		if which(o) {
			o.End(cut)
			o.ended = true
			o.finish(reason)
		}
	}
	p.prune()
}

func (p *ports) prune() {
	*p = slices.DeleteFunc(*p, func(o *openPort) bool {
		over := o.State() == PortOver
		if over {
			o.finish(used)
		}
		return over
	})
}

// next returns when the first port ends; false if there is none.
func (p ports) next() (next time.Time, ok bool) {
	for _, o := range p {
		if !o.ended && (!ok || o.until.Before(next)) {
			next, ok = o.until, true
		}
	}
	return next, ok
}

// portOwner is whose ports give way to those of others: a client's, or those of an
// operation that belongs to no client. With its secret, and many addresses, one host is
// many clients.
type portOwner struct {
	client wire.Identifier
	shared string
}

func (p *openPort) owner() portOwner {
	if p.shared != "" {
		return portOwner{shared: p.shared}
	}
	return portOwner{client: p.client}
}

// makeRoom makes room for another waiting port. A client at its limit loses the port that
// ends first. If the service is at its limit, the owner with the most waiting ports loses
// one, unless the new port would give its owner as many; so do the clients of one owner. A
// port to which a connection has come is never ended.
func (p *ports) makeRoom(next *openPort) error {
	p.prune()
	waiting := map[portOwner][]*openPort{}
	var own []*openPort // of the client
	all, largest := 0, next.owner()
	for _, o := range *p {
		if o.State() != PortWaiting {
			continue
		}
		all++
		if o.client == next.client {
			own = append(own, o)
		}
		of := o.owner()
		waiting[of] = append(waiting[of], o)
		if len(waiting[of]) > len(waiting[largest]) {
			largest = of
		}
	}
	switch {
	case len(own) >= portsPerClient:
	case all < maxPorts:
		return nil
	case len(waiting[largest]) > len(waiting[next.owner()])+1:
		own = largestClient(waiting[largest])
	default:
		most := largestClient(waiting[next.owner()])
		if len(most) <= len(own)+1 {
			return errTooManyPorts
		}
		own = most
	}
	first := slices.MinFunc(own, func(a, b *openPort) int { return a.until.Compare(b.until) })
	first.End(false)
	first.ended = true
	first.finish(displaced)
	return nil
}

// largestClient returns the ports of the client that has the most of them.
func largestClient(all []*openPort) (most []*openPort) {
	of := map[wire.Identifier][]*openPort{}
	for _, o := range all {
		of[o.client] = append(of[o.client], o)
		if len(of[o.client]) > len(most) {
			most = of[o.client]
		}
	}
	return most
}

// withPort returns the host of an address with another port.
func withPort(listen string, port uint16) (string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if host == "::" {
		host = "" // for package net, "::" requires IPv6
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

// wrapBindError wraps the error of a failed bind.
func wrapBindError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrPortTaken, err)
	}
	return err
}
