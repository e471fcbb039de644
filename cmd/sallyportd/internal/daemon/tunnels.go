package daemon

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"sallyport/sessions/gate"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/carrier"
)

// A tunnel is a connection through a listener of [[challenge.http]], which proves by the
// ticket of an exchange that it is of the exchange's client. It is a command as that of a
// random port: it lets in the connection, and no address.

// letTunnelIn lets a tunnel in, as gate.Services.Tunnel does.
type letTunnelIn func(gate.Command, gate.Tunnel) (carry func(), err error)

func (s *Server) letTunnelIn(c gate.Command, t gate.Tunnel) (carry func(), err error) {
	return s.gate.Tunnel(c, t)
}

// Open implements web.Tunnels.
func (c *challenger) Open(
	x carrier.Exchange, ticket [carrier.TicketSize]byte, client netip.Addr, now time.Time,
) (accept func(net.Conn), ok bool) {
	p, ok := c.carriers.table.Take(x, ticket, now)
	if !ok || !c.opens(p, client) {
		return nil, false
	}
	return func(t net.Conn) { c.carry(p, client, t.(refusable)) }, true
}

// refusable is a *tunnel.Conn.
type refusable interface {
	gate.Tunnel
	Refuse(reason string)
}

// opens reports whether the operation of a proof exists, and may open a tunnel for an
// address.
func (c *challenger) opens(p carriedtable.Proof, client netip.Addr) bool {
	o, ok := c.operations.Load().byID[p.Operation().ID()]
	return ok && o.protocol == p.Operation() && !o.Close && o.allows(client, c.wall())
}

// carry carries a tunnel to the service of its operation, until it ends.
func (c *challenger) carry(p carriedtable.Proof, client netip.Addr, t refusable) {
	carry, err := c.letIn(p, client, t)
	if err != nil {
		t.Refuse("the service does not accept it now")
		c.log.Warn("tunnel refused", "operation", p.Operation().ID(), "address", client, "error", err)
		return
	}
	carry()
}

// errOperationGone is the error of an operation that a reload has removed meanwhile.
var errOperationGone = errors.New("the operation is no longer available")

// letIn executes the command of a tunnel. It and the command of its exchange are one use
// of an operation with a limit.
func (c *challenger) letIn(p carriedtable.Proof, client netip.Addr, t gate.Tunnel) (carry func(), err error) {
	c.mu.Lock() // so that update and narrow apply to it
	defer c.mu.Unlock()
	o, ok := c.operations.Load().byID[p.Operation().ID()]
	if !ok || c.ended || !c.opens(p, client) {
		return nil, errOperationGone
	}
	do := o.command(proof{p.Proof, client}, c.wall())
	do.Port = 0
	if err := c.uses.take([]command{do})[0]; err != nil {
		return nil, err
	}
	return c.tunnel(do.Command, t)
}
