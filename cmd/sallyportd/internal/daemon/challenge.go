package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/capture"
	"sallyport/sessions"
	"sallyport/sessions/exchanges"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// proofQueue is how many proofs wait for the gate. One more is dropped, and its
// client starts over.
const proofQueue = 1024

// challenger is the challenge–response protocol, wired:
// capture -> exchanges -> proofs -> gate.
type challenger struct {
	capture    *capture.Capture
	table      *exchanges.Table
	proofs     chan proof
	operations atomic.Pointer[operations]
	execute    func(o gate.Order, service, operation string) error
	now        func() time.Time
	log        *slog.Logger
	lost       atomic.Uint64
	mu         sync.Mutex // while a proof is carried out
}

// proof is what an exchange has proved, and for which address.
type proof struct {
	exchange.Grant
	from netip.Addr
}

// newChallenger takes the ports, from which nothing is heard before run. What an
// operation asks for is done by execute, with the operation's ID.
func newChallenger(cfg *config.Config, o operations, helped bool, execute func(o gate.Order, service, operation string) error, env Env) (c *challenger, err error) {
	c = &challenger{proofs: make(chan proof, proofQueue), execute: execute, now: env.Clock.Boot, log: env.Log}
	c.operations.Store(&o)
	port := randomPort(cfg.Challenge.Plan.Ports, cfg.ServicePorts())
	c.table, err = exchanges.New(exchanges.Config{
		Operations: o.protocol, Slots: cfg.Challenge.Exchanges, Rate: cfg.Challenge.Rate,
		Public4: cfg.Challenge.Public4, Public6: cfg.Challenge.Public6, Random: rand.Reader,
		Allows: c.allows, Port: func(*exchange.Operation) uint16 { return port() },
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			return c.capture.Answer(capture.Packet{Source: source, Destination: destination}, payload)
		},
		Grant: func(g exchange.Grant, from netip.Addr) {
			select {
			case c.proofs <- proof{g, from}:
			default:
				c.lost.Add(1)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	var mark uint32
	if helped {
		mark = firewall.AnswerMark
	}
	c.capture, err = capture.Open(capture.Config{
		Mark:  mark,
		First: cfg.Challenge.Plan.Ports.First, Last: cfg.Challenge.Plan.Ports.Last, Sockets: cfg.Challenge.Sockets,
		Addresses: cfg.Listen, Sink: c, Log: env.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("watch the ports of requests and responses: %w", err)
	}
	return c, nil
}

// update changes the operations. When it returns, nothing is carried out any
// more that was proved by those before.
func (c *challenger) update(o operations) {
	c.mu.Lock() // what was being carried out is done
	defer c.mu.Unlock()
	c.operations.Store(&o)
	c.table.Update(o.protocol)
}

// narrow takes operations away whose client may not open their service any
// more: each that is given keeps those services. nil: there is no protocol.
func (c *challenger) narrow(less map[wire.Identifier][]access.ServiceID) {
	if c == nil {
		return
	}
	c.mu.Lock() // what was being carried out is done
	defer c.mu.Unlock()
	next := *c.operations.Load()
	next.byID = maps.Clone(next.byID)
	maps.DeleteFunc(next.byID, func(_ string, o operation) bool {
		if o.Client == "" {
			return false
		}
		services, some := less[wire.Identifier([]byte(o.Client))]
		return some && !slices.Contains(services, o.service)
	})
	c.operations.Store(&next)
}

// opensOwnerless reports whether there is an operation that belongs to no client,
// and opens a service.
func (c *challenger) opensOwnerless(id access.ServiceID) bool {
	if c == nil {
		return false
	}
	for _, o := range c.operations.Load().byID {
		if o.Client == "" && o.service == id {
			return true
		}
	}
	return false
}

// keepsOwnerless reports whether leases that belong to no client go on under the
// next operations.
func (c *challenger) keepsOwnerless(next operations) bool {
	return c != nil && c.operations.Load().keepsOwnerless(next)
}

func (c *challenger) allows(o *exchange.Operation, a netip.Addr) bool {
	op, ok := c.operations.Load().byID[o.ID()]
	return ok && op.Allows(a)
}

// Take implements capture.Sink.
func (c *challenger) Take(packets []capture.Packet) {
	now := c.now()
	for _, p := range packets {
		c.table.Take(p.Source, p.Destination, now)
	}
}

// run watches until ctx ends.
func (c *challenger) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error {
		defer close(c.proofs)
		return c.capture.Run(ctx)
	})
	g.Go(func() error {
		for p := range c.proofs {
			c.executeProof(p.Grant, p.from)
		}
		return nil
	})
	return g.Wait()
}

// executeProof does what an address has proved to have the right to.
func (c *challenger) executeProof(g exchange.Grant, from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := g.Operation().ID()
	o, ok := c.operations.Load().byID[id]
	if !ok || o.protocol != g.Operation() || !o.Allows(from) {
		return // it has gone meanwhile
	}
	do := gate.Order{
		Service: o.service, Grant: sessions.Grant{Identifier: o.leaseOwner(from), Address: from},
		For: o.OpenFor, Port: g.Port(),
	}
	if o.Close {
		do.Action = gate.Close
	}
	if err := c.execute(do, o.Service, id); err != nil {
		c.log.Error("an operation was not carried out", "operation", id, "address", from, "error", err)
		return
	}
	c.log.Info("carried out", "operation", id, "client", do.Grant.Identifier, "address", from)
}

// randomPort chooses ports that nothing of ours may have: none of requests and
// responses, none where knocks begin below, and no service's.
func randomPort(requests challenge.Ports, services []uint16) func() uint16 {
	return func() uint16 {
		for {
			var b [2]byte
			rand.Read(b[:]) // never fails
			port := binary.BigEndian.Uint16(b[:])
			if port >= schedule.MinPort && (port < requests.First || port > requests.Last) && !slices.Contains(services, port) {
				return port
			}
		}
	}
}
