package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
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
	"sallyport/cmd/sallyportd/internal/tracing"
	"sallyport/ingest/capture"
	"sallyport/sessions"
	"sallyport/sessions/fleet/relay"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/handshakes"
	carriedtable "sallyport/sessions/handshakes/carried"
	limits "sallyport/sessions/handshakes/limit"
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
	answers    *answers        // with transport = "tcp"
	relay      *relay.Relay    // nil: no other gateway hands packets over
	sandbox    json.RawMessage // of the capturer; nil: none captures
	operations atomic.Pointer[operations]
	listed     func() bool // the clients are those of the list, see listDecided; nil: they are
	uses       *uses
	counting   counting
	execute    func([]command) []error
	tunnel     letTunnelIn
	newLink    func() (*gate.Link, error)
	tunnels    tunnelBounds
	now, wall  func() time.Time
	trace      atomic.Pointer[exchangeTrace]
	log        *slog.Logger
	mu         sync.Mutex // held while commands are executed; not while their uses are counted
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
	counted            *atomic.Bool // of the proof
}

// newChallenger opens the ports, of which nothing is read before run. It calls
// execute with all commands that wait; execute returns nil, or an error for each.
// u counts the uses of operations. fw is the enforcer of the firewall; nil: there is none.
func newChallenger(
	cfg *config.Config, o operations, u *uses, fw access.Enforcer, execute func([]command) []error, tunnel letTunnelIn, env Env,
) (c *challenger, err error) {
	c = &challenger{proofs: newProofs(env.Clock.Boot), uses: u, execute: execute, tunnel: tunnel, newLink: gate.NewLink, now: env.Clock.Boot, wall: env.Clock.Wall, log: env.Log}
	c.operations.Store(&o)
	taken := append(cfg.ServicePorts(), cfg.CarrierPorts()...)
	if a := cfg.Challenge.Answers; a != nil {
		taken = append(taken, access.Ports{First: a.Port, Last: a.Port})
	}
	draw := randomPort(cfg.Challenge.PacketPorts(), taken)
	port := func(*exchange.Operation) uint16 { return draw() }
	work := keyWork(cfg)
	c.carriers, err = newCarriers(cfg, o, carriedtable.Config{
		KeyWork: work, Allows: c.allows, Port: port, OnProof: func(p carriedtable.Proof) { c.onProof(proof{p.Proof, p.Address, p.Counted}) },
	}, c, env)
	if err != nil || cfg.Challenge.CarriersOnly {
		return c, err
	}
	c.table, err = handshakes.New(handshakes.Config{
		Operations: o.protocol, Slots: cfg.Challenge.Exchanges, Rate: cfg.Challenge.Rate, KeyWork: work,
		Public4: cfg.Challenge.Public4, Public6: cfg.Challenge.Public6, Random: rand.Reader,
		Allows: c.allows, Port: port,
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			if c.answers != nil {
				return c.answers.put(source, payload)
			}
			return c.capture.Answer(capture.Packet{Source: source, Destination: destination}, payload)
		},
		AnswerEarlier: c.answerEarlier,
		OnProof: func(p exchange.Proof, from netip.Addr) {
			c.onProof(proof{p, from, nil})
			if c.relay != nil {
				c.relay.Know(from)
			}
		},
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
		Sandbox: func(text json.RawMessage) { c.sandbox = text },
	})
	if err != nil {
		return nil, fmt.Errorf("capture requests and responses: %w", err)
	}
	if err := c.openRelay(cfg, env); err != nil {
		c.capture.Close()
		return nil, err
	}
	return c, nil
}

// keyWork returns the computations with public keys a second of each table of exchanges:
// that of packets, and that of carriers.
func keyWork(cfg *config.Config) float64 {
	if both := len(cfg.CarrierListeners()) > 0 && !cfg.Challenge.CarriersOnly; both {
		return limits.KeyWork / 2
	}
	return limits.KeyWork
}

// onProof takes the proof of an exchange, unless that only leaves its ticket.
func (c *challenger) onProof(p proof) {
	if o, ok := c.operations.Load().byID[p.Operation().ID()]; ok && o.performs(p) {
		c.traced(o.ID, tracing.Verified, p.from, nil)
		if became := c.proofs.put(o, p); became != tracing.Verified {
			c.traced(o.ID, became, p.from, nil)
			c.logDenied(o.ID, p.from, became)
		}
	}
}

// update changes the operations. When it returns, no proof of one that has changed is
// executed, and its exchanges and tickets have ended; those of all others go on. A tunnel
// that was let in belongs to its client, and ends with the client's rights, as a
// connection to the service's own port does.
func (c *challenger) update(o operations) {
	c.mu.Lock() // executeProofs has ended
	defer c.mu.Unlock()
	o = o.keeping(*c.operations.Load())
	c.operations.Store(&o)
	c.uses.configure(o.limited)
	c.proofs.keepClients(o)
	c.tunnels.keep(o)
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
	return ok && c.may(op, a) && c.uses.left(op.limit()) > 0
}

// may reports whether an address may use an operation now.
func (c *challenger) may(o operation, a netip.Addr) bool {
	return o.allows(a, c.wall()) && (o.Client == "" || o.Close || c.listed == nil || c.listed())
}

// Take implements capture.Sink.
func (c *challenger) Take(packets []capture.Packet) {
	now, wall := c.now(), c.wall().UnixNano()
	c.tableMu.Lock()
	defer c.tableMu.Unlock()
	c.table.Turn(c.wall())
	for _, p := range packets {
		var age time.Duration
		if p.Arrived != 0 {
			// The time of day may have been set since the packet arrived.
			age = min(max(time.Duration(wall-p.Arrived), 0), mostLate)
		}
		elsewhere := c.relay != nil && !c.relay.Offer(relay.Packet{Source: p.Source, Port: p.Destination.Port(), TCP: c.answers != nil, Age: age})
		c.table.Take(handshakes.Arrival{Source: p.Source, Destination: p.Destination, Number: p.Number, Elsewhere: elsewhere}, c.arrival(now, age))
	}
}

// arrival returns the time of a packet that arrived so long ago: not before that of the
// packet before it. The caller holds tableMu.
func (c *challenger) arrival(now time.Time, age time.Duration) time.Time {
	if at := now.Add(-age); at.After(c.lastPacket) {
		c.lastPacket = at
	}
	return c.lastPacket
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
	if c.relay != nil {
		receivers.Go(func() error {
			defer stop()
			return c.relay.Run(receiving)
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
		c.counting.close()
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

// logDenied logs a verified exchange that opens nothing because of its number. One that a
// newer one has replaced is not denied.
func (c *challenger) logDenied(operation string, from netip.Addr, became tracing.Proof) {
	reason := ""
	switch became {
	case tracing.Limited:
		reason = "rate_limited"
	case tracing.Lost:
		reason = "lost"
	default:
		return
	}
	c.log.Info("exchange denied", "operation", operation, "address", access.AddressText(from), "reason", reason)
}

func (c *challenger) logExecuted(o command) {
	attrs := []any{"operation", o.operation, "client", o.Grant.Identifier, "address", access.AddressText(o.Grant.Address)}
	if o.limit.uses > 0 {
		attrs = append(attrs, "uses_left", c.uses.left(o.limit))
	}
	c.log.Info("operation executed", attrs...)
}

// lease returns the lease that a command opens, as far as it is known before.
func (c command) lease() gate.Lease {
	return gate.Lease{Service: c.service, Client: c.at.client, Peer: c.at.peer, Operation: c.operation}
}

func (o operation) command(p proof, now time.Time) command {
	do := command{service: o.Service, operation: o.ID, at: o.at(p.from), Command: gate.Command{
		Service: o.service, Grant: sessions.Grant{Identifier: o.leaseOwner(p.from), Address: p.from, ISN: p.ISN()}, For: o.OpenFor, Port: p.Port(),
		UntilClosed: o.UntilClosed, Operation: o.ID, Shared: o.Client == "", AnyAddress: !p.from.IsValid(),
	}, limit: o.limit()}
	if o.Close {
		do.Action = gate.Close
	}
	if o.UntilClosed {
		l := o.keep(p.from, p.Key(), now)
		do.keeps = &l
	}
	do.counted = p.counted
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
