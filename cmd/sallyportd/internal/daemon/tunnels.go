package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"sallyport/cmd/sallyportd/internal/tracing"
	ingestweb "sallyport/ingest/web"
	"sallyport/sessions/gate"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/carrier"
)

// A tunnel is a connection through a listener of [[challenge.http]], which proves by the
// ticket of an exchange that it is of the exchange's client. It is a command as that of a
// random port: it lets in the connection, and no address.

// letTunnelIn lets a tunnel in, as gate.Services.Tunnel does.
type letTunnelIn func(gate.Command, gate.Tunnel, *gate.Link) (carry func(), err error)

func (s *Server) letTunnelIn(c gate.Command, t gate.Tunnel, l *gate.Link) (carry func(), err error) {
	if err := s.listIsOld(); err != nil {
		return nil, err
	}
	return s.gate.Tunnel(c, t, l)
}

// Open implements web.Tunnels.
func (c *challenger) Open(
	x carrier.Exchange, ticket [carrier.TicketSize]byte, client netip.Addr, now time.Time,
) (accept func(net.Conn) (refused string), ok bool) {
	p, ok := c.carriers.table.Take(x, ticket, now)
	if !ok {
		return nil, false
	}
	if id := p.Operation().ID(); !c.opens(p, client) {
		c.traced(id, tracing.Refused, client, errNoTunnel)
		return nil, false
	}
	return func(t net.Conn) string { return c.carry(p, client, t.(gate.Tunnel)) }, true
}

// opens reports whether the operation of a proof exists, and may open a tunnel for an
// address.
func (c *challenger) opens(p carriedtable.Proof, client netip.Addr) bool {
	o, ok := c.operations.Load().byID[p.Operation().ID()]
	return ok && o.protocol == p.Operation() && !o.Close && c.may(o, client)
}

// carry carries a tunnel to the service of its operation, until it ends, or returns the
// reason for which it is refused.
func (c *challenger) carry(p carriedtable.Proof, client netip.Addr, t gate.Tunnel) (refused string) {
	end, ok := c.begin(p, client)
	if !ok {
		c.traced(p.Operation().ID(), tracing.Limited, client, nil)
		c.logDenied(p.Operation().ID(), client, tracing.Limited)
		return ingestweb.TooManyTunnels
	}
	defer end()
	carry, err := c.letIn(p, client, t)
	if err == nil {
		c.traced(p.Operation().ID(), tracing.Tunnelled, client, nil)
	} else {
		c.traced(p.Operation().ID(), tracing.Refused, client, err)
		c.log.Warn("tunnel refused", "operation", p.Operation().ID(), "address", client, "error", err)
		return "the service does not accept it now"
	}
	carry()
	return ""
}

// errOperationGone is the error of an operation that a reload has removed meanwhile.
var errOperationGone = errors.New("the operation is no longer available")

// errNoTunnel is the error of a tunnel of an operation that closes, or that its client, or
// the address, may no longer use.
var errNoTunnel = errors.New("the operation closes, or may not be used any longer: no tunnel")

// letIn executes the command of a tunnel. It and the command of its exchange are one use
// of an operation with a limit.
func (c *challenger) letIn(p carriedtable.Proof, client netip.Addr, t gate.Tunnel) (carry func(), err error) {
	o, ok := c.operations.Load().byID[p.Operation().ID()]
	if !ok {
		return nil, errOperationGone
	}
	link, err := c.newLink() // without the lock: other users of this host can delay it
	if err != nil {
		return nil, fmt.Errorf("connect this host with itself: %w", err)
	}
	defer func() {
		if err != nil {
			link.Close()
		}
	}()
	if err := c.countTunnel(o.tunnelCommand(p, client, c.wall())); err != nil {
		return nil, err
	}
	c.mu.Lock() // so that update and narrow apply to it
	defer c.mu.Unlock()
	if o, ok = c.operations.Load().byID[p.Operation().ID()]; !ok || c.ended || !c.opens(p, client) {
		return nil, errOperationGone
	}
	do := o.tunnelCommand(p, client, c.wall())
	carry, err = c.tunnel(do.Command, t, link)
	if err == nil && !o.performs(proof{p.Proof, p.Address, p.Counted}) {
		c.logExecuted(do) // else the command of the exchange is in the log
	}
	return carry, err
}

// tunnelCommand returns the command of a tunnel for an address, by the proof of an exchange.
func (o operation) tunnelCommand(p carriedtable.Proof, client netip.Addr, now time.Time) command {
	do := o.command(proof{p.Proof, client, p.Counted}, now)
	do.Port = 0
	return do
}
