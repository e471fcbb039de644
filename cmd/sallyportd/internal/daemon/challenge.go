package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
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
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/handshakes"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// challenger is the challenge–response protocol, wired:
// capture -> handshakes -> proofs -> gate, and carriers -> proofs.
type challenger struct {
	capture    *capture.Capture  // nil: exchanges only travel over HTTP and DNS
	table      *handshakes.Table // nil if capture is
	carriers   *carriers         // nil: there is none
	proofs     *proofs
	answers    *answers // with transport = "tcp"
	operations atomic.Pointer[operations]
	uses       *uses
	execute    func([]command) []error
	tunnel     letTunnelIn
	now, wall  func() time.Time
	log        *slog.Logger
	mu         sync.Mutex // held while proofs are executed
	ended      bool       // guarded by mu: no tunnel is let in any longer
	tableMu    sync.Mutex // held for each batch of packets, and while the table is swept
	lastPacket time.Time  // the arrival of the last packet, of now; guarded by tableMu
}

// command is what an operation requests.
type command struct {
	gate.Command
	service, operation string // their names
	at                 address
	keeps              *keptLease // it opens without an end; nil: it does not
	limit              limit
	ticket             ticket // of the exchange
}

// newChallenger opens the ports, of which nothing is read before run. It calls
// execute with all commands that wait; execute returns nil, or an error for each.
// u counts the uses of operations. fw is the enforcer of the firewall; nil: there is none.
func newChallenger(
	cfg *config.Config, o operations, u *uses, fw access.Enforcer, execute func([]command) []error, tunnel letTunnelIn, env Env,
) (c *challenger, err error) {
	c = &challenger{proofs: newProofs(env.Clock.Boot), uses: u, execute: execute, tunnel: tunnel, now: env.Clock.Boot, wall: env.Clock.Wall, log: env.Log}
	c.operations.Store(&o)
	taken := append(cfg.ServicePorts(), cfg.CarrierPorts()...)
	if a := cfg.Challenge.Answers; a != nil {
		taken = append(taken, access.Ports{First: a.Port, Last: a.Port})
	}
	draw := randomPort(cfg.Challenge.PacketPorts(), taken)
	port := func(*exchange.Operation) uint16 { return draw() }
	c.carriers, err = newCarriers(cfg, o, carriedtable.Config{
		Allows: c.allows, Port: port, OnProof: func(p carriedtable.Proof) { c.onProof(p.Proof, p.Address) },
	}, c, env)
	if err != nil || cfg.Challenge.CarriersOnly {
		return c, err
	}
	c.table, err = handshakes.New(handshakes.Config{
		Operations: o.protocol, Slots: cfg.Challenge.Exchanges, Rate: cfg.Challenge.Rate,
		Public4: cfg.Challenge.Public4, Public6: cfg.Challenge.Public6, Random: rand.Reader,
		Allows: c.allows, Port: port,
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			if c.answers != nil {
				return c.answers.put(source, payload)
			}
			return c.capture.Answer(capture.Packet{Source: source, Destination: destination}, payload)
		},
		OnProof: c.onProof,
	})
	if err != nil {
		return nil, err
	}
	var mark uint32
	if fw != nil {
		mark = firewall.AnswerMark
	}
	p := cfg.Challenge.Plan.Ports
	settings := capture.Settings{First: p.First, Last: p.Last, TCP: cfg.Challenge.Answers != nil, Addresses: cfg.Listen}
	if settings.TCP {
		c.answers = newAnswers(cfg, fw, env)
	}
	c.capture, err = capture.Open(capture.Config{
		Settings: settings, Sockets: cfg.Challenge.Sockets, Capturer: env.Capturer, Mark: mark, Sink: c, Log: env.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("capture requests and responses: %w", err)
	}
	return c, nil
}

// onProof takes the proof of an exchange, for an address; zero: for a connection.
func (c *challenger) onProof(g exchange.Proof, from netip.Addr) {
	if o, ok := c.operations.Load().byID[g.Operation().ID()]; ok {
		c.proofs.put(o, proof{g, from})
	}
}

// update changes the operations. When it returns, no proof of the old operations is
// executed.
func (c *challenger) update(o operations) {
	c.mu.Lock() // executeProofs has ended
	defer c.mu.Unlock()
	c.operations.Store(&o)
	c.uses.configure(o.limited)
	c.proofs.keepClients(o)
	if c.table != nil {
		c.table.Update(o.protocol)
	}
	c.carriers.update(o.protocol)
}

// narrow removes operations whose client may no longer open their service: each
// client in less keeps the services there. It may be called on nil.
func (c *challenger) narrow(less map[wire.Identifier][]access.ServiceID) {
	if c == nil {
		return
	}
	c.mu.Lock() // executeProofs has ended
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

// opensOwnerless reports whether an operation that belongs to no client is for a
// service.
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

// keepsOwnerless reports whether leases that belong to no client continue under the
// next operations.
func (c *challenger) keepsOwnerless(next operations) bool {
	return c != nil && c.operations.Load().keepsOwnerless(next)
}

func (c *challenger) allows(o *exchange.Operation, a netip.Addr) bool {
	op, ok := c.operations.Load().byID[o.ID()]
	return ok && op.allows(a, c.wall()) && c.uses.left(op.limit()) > 0
}

// Take implements capture.Sink.
func (c *challenger) Take(packets []capture.Packet) {
	now, wall := c.now(), c.wall().UnixNano()
	c.tableMu.Lock()
	defer c.tableMu.Unlock()
	c.table.Turn(c.wall())
	for _, p := range packets {
		at := now
		if p.Arrived != 0 {
			// The time of day may have been set since the packet arrived.
			at = now.Add(-min(max(time.Duration(wall-p.Arrived), 0), mostLate))
		}
		if at.Before(c.lastPacket) {
			at = c.lastPacket
		}
		c.lastPacket = at
		c.table.Receive(p.Source, p.Destination, at)
	}
}

// mostLate is how long before it is read a packet can have arrived: about as long as
// unfinished exchanges are kept.
const mostLate = time.Second

// run receives exchanges until ctx ends or the capture fails, and then executes the
// proofs that wait.
func (c *challenger) run(ctx context.Context) error {
	// The capture can end before ctx: if it fails. Then everything here ends.
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	defer c.end()
	var receivers, g errgroup.Group
	if c.capture != nil {
		receivers.Go(func() error {
			defer stop()
			return c.capture.Run(ctx)
		})
		g.Go(func() error {
			c.sweep(receiving)
			return nil
		})
	}
	receivers.Go(func() error {
		c.carriers.run(receiving)
		return nil
	})
	g.Go(func() error {
		defer c.proofs.close()
		return receivers.Wait()
	})
	if c.answers != nil {
		g.Go(func() error { return c.answers.run(receiving) })
	}
	g.Go(func() error {
		for range c.proofs.wake {
			c.executeProofs(c.proofs.take())
		}
		c.executeProofs(c.proofs.take())
		return nil
	})
	return g.Wait()
}

// end lets no tunnel in from now on: a request over HTTP may outlast its listener, and would
// count its use in a state directory that the next server has.
func (c *challenger) end() {
	c.mu.Lock() // letIn has ended
	defer c.mu.Unlock()
	c.ended = true
}

// sweepPause is the time between two calls of Sweep: exchanges that packets were
// lost of are counted within seconds, also if no other packet arrives.
const sweepPause = time.Second

// sweep sweeps the table until ctx ends.
func (c *challenger) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.tableMu.Lock()
			c.table.Turn(c.wall())
			c.table.Sweep(c.now())
			c.tableMu.Unlock()
		}
	}
}

// executeProofs executes the commands of proofs, all in one call.
func (c *challenger) executeProofs(all []proof) {
	c.mu.Lock()
	defer c.mu.Unlock()
	operations := c.operations.Load()
	commands := make([]command, 0, len(all))
	for _, p := range all {
		o, ok := operations.byID[p.Operation().ID()]
		if !ok || o.protocol != p.Operation() || !o.allows(p.from, c.wall()) {
			continue // the operation was removed, or its client has expired, meanwhile
		}
		if !p.from.IsValid() && !o.opensForConnections() {
			continue // it leaves its ticket
		}
		commands = append(commands, o.command(p, c.wall()))
	}
	if len(commands) == 0 {
		return
	}
	for i, err := range c.executeCounted(commands) {
		o := commands[i]
		switch {
		case errors.Is(err, errNoUses):
			c.log.Warn("operation refused; no uses left", "operation", o.operation, "address", access.AddressText(o.Grant.Address))
		case err != nil:
			c.log.Error("failed to execute an operation", "operation", o.operation, "address", access.AddressText(o.Grant.Address), "error", err)
		default:
			attrs := []any{"operation", o.operation, "client", o.Grant.Identifier, "address", access.AddressText(o.Grant.Address)}
			if o.limit.uses > 0 {
				attrs = append(attrs, "uses_left", c.uses.left(o.limit))
			}
			c.log.Info("operation executed", attrs...)
		}
	}
}

// executeCounted counts the uses of operations, and executes the commands that may
// still be used. It returns the error of each command.
func (c *challenger) executeCounted(commands []command) []error {
	errs := c.uses.take(commands)
	var ready []command
	var of []int
	for i, o := range commands {
		if errs[i] == nil {
			ready, of = append(ready, o), append(of, i)
		}
	}
	if len(ready) == 0 {
		return errs
	}
	for j, err := range c.execute(ready) {
		errs[of[j]] = err
	}
	return errs
}

func (o operation) command(p proof, now time.Time) command {
	do := command{service: o.Service, operation: o.ID, at: o.at(p.from), Command: gate.Command{
		Service: o.service, Grant: sessions.Grant{Identifier: o.leaseOwner(p.from), Address: p.from, ISN: p.ISN()}, For: o.OpenFor, Port: p.Port(),
		UntilClosed: o.UntilClosed, Operation: o.ID, AnyAddress: !p.from.IsValid(),
	}, limit: o.limit()}
	if o.Close {
		do.Action = gate.Close
	}
	if o.UntilClosed {
		l := o.keep(p.from, p.Key(), now)
		do.keeps = &l
	}
	do.ticket = p.Ticket()
	return do
}

// randomPort returns a function that draws a random port: not below the first knock
// port, not one of requests and responses, and not a service's.
func randomPort(requests access.Ports, services []access.Ports) func() uint16 {
	return func() uint16 {
		for {
			var b [2]byte
			rand.Read(b[:]) // never fails
			port := binary.BigEndian.Uint16(b[:])
			if port >= schedule.MinPort && !requests.Has(port) && !access.AnyHas(services, port) {
				return port
			}
		}
	}
}
