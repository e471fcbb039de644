package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"sallyport/ingest/capture"
	"sallyport/sessions"
	"sallyport/sessions/exchanges"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// proofQueue is how many grants wait for the gate. One more is dropped, and its
// client starts over.
const proofQueue = 1024

// challenger is the second protocol, wired: capture -> exchanges -> gate.
type challenger struct {
	capture *capture.Capture
	table   *exchanges.Table
	proofs  chan proof
	orders  atomic.Pointer[map[string]order] // by the operation's ID
	// The last update has left all operations that belong to no client.
	anonymous bool
	carry     func(gate.Order, string) error
	log       *slog.Logger
	lost      atomic.Uint64
	obeying   sync.Mutex // while an order is carried out
}

// proof is a grant, and where it came from.
type proof struct {
	exchange.Grant
	from netip.Addr
}

// order is what an operation does.
type order struct {
	operationConfig
	operation *exchange.Operation
	opens     access.ServiceID
}

// orders are operations, as the gate and the table take them.
type orders struct {
	list       []order
	operations *exchange.Operations
}

func ordersOf(cfg config) (o orders, why []string, err error) {
	if cfg.challenge == nil {
		return o, nil, nil
	}
	list, why := cfg.usable()
	operations, err := operationsOf(list)
	if err != nil {
		return o, why, err
	}
	for i, c := range list {
		o.list = append(o.list, order{operationConfig: c, operation: operations[i], opens: access.ID(cfg.services[c.service].name)})
	}
	o.operations, err = exchange.NewOperations(operations, cfg.challenge.plan)
	return o, why, err
}

// newChallenger takes the ports, from which nothing is heard before run. What an
// operation asks for is carried out by carry, which is told its ID.
func newChallenger(cfg config, o orders, carry func(gate.Order, string) error, log *slog.Logger) (c *challenger, err error) {
	c = &challenger{proofs: make(chan proof, proofQueue), carry: carry, log: log}
	c.use(o.list)
	c.table, err = exchanges.New(exchanges.Config{
		Operations: o.operations, Slots: cfg.challenge.slots, Rate: cfg.challenge.rate,
		Public4: cfg.challenge.public4, Public6: cfg.challenge.public6, Random: rand.Reader,
		Allows: c.allows, Port: func(*exchange.Operation) uint16 { return c.randomPort(cfg) },
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			return c.capture.Answer(capture.Knock{Source: source, Destination: destination}, payload)
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
	if cfg.needsHelper() {
		mark = firewall.AnswerMark
	}
	c.capture, err = capture.Open(capture.Config{
		Mark:  mark,
		First: cfg.challenge.plan.Ports.First, Last: cfg.challenge.plan.Ports.Last, Sockets: cfg.challenge.sockets,
		Addresses: cfg.listen, Sink: c, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("watch the ports of requests and responses: %w", err)
	}
	return c, nil
}

// use begins with operations.
func (c *challenger) use(list []order) {
	all := make(map[string]order, len(list))
	for _, o := range list {
		all[o.id] = o
	}
	// Leases of operations that are nobody's own go on if all of those do.
	c.anonymous = false
	if before := c.orders.Load(); before != nil {
		c.anonymous = true
		for id, o := range *before {
			now, ok := all[id]
			c.anonymous = c.anonymous && (o.client != "" || ok && now.client == "" && now.secret == o.secret && now.service == o.service)
		}
	}
	c.orders.Store(&all)
}

// holder is under what name an order's lease runs. Operations that belong to no
// client have one for each address, so that one closes what another has opened,
// and how many addresses a client may have does not count for everybody.
func (o order) holder(a netip.Addr) (id wire.Identifier) {
	if o.client != "" {
		copy(id[:], o.client)
		return id
	}
	// No client's identifier in a clients file begins so.
	b := a.As16()
	copy(id[:], fmt.Sprintf("#%03x", xxhash.Sum64(b[:])&0xfff))
	return id
}

// update changes the operations. When it returns, nothing is carried out any
// more that was proved by those before.
func (c *challenger) update(o orders) {
	c.obeying.Lock() // what was being carried out is done
	defer c.obeying.Unlock()
	c.use(o.list)
	c.table.Update(o.operations)
}

// holds reports whether leases under a name that is no client's go on after an
// update.
func (c *challenger) holds(id wire.Identifier) bool { return id[0] == '#' && c.anonymous }

func (c *challenger) allows(o *exchange.Operation, a netip.Addr) bool {
	order, ok := (*c.orders.Load())[o.ID()]
	return ok && order.allows(a)
}

// Take implements capture.Sink.
func (c *challenger) Take(knocks []capture.Knock) {
	now := time.Now()
	for _, k := range knocks {
		c.table.Take(k.Source, k.Destination, now)
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
			c.obey(p.Grant, p.from)
		}
		return nil
	})
	return g.Wait()
}

// obey does what somebody has proved to have the right to.
func (c *challenger) obey(g exchange.Grant, from netip.Addr) {
	c.obeying.Lock()
	defer c.obeying.Unlock()
	id := g.Operation().ID()
	o, ok := (*c.orders.Load())[id]
	if !ok || o.operation != g.Operation() || !o.allows(from) {
		return // it has gone meanwhile
	}
	do := gate.Order{
		Service: o.opens, Grant: sessions.Grant{Identifier: o.holder(from), Address: from},
		For: o.openFor, Port: g.Port(),
	}
	if o.close {
		do.Action = gate.Close
	}
	if err := c.carry(do, id); err != nil {
		c.log.Error("an operation was not carried out", "operation", id, "address", from, "error", err)
		return
	}
	c.log.Info("carried out", "operation", id, "client", do.Grant.Identifier, "address", from)
}

// randomPort chooses a port that nothing of ours may have.
func (c *challenger) randomPort(cfg config) uint16 {
	for {
		var b [2]byte
		rand.Read(b[:]) // never fails
		port := binary.BigEndian.Uint16(b[:])
		taken := port < schedule.MinPort || cfg.challenge.plan.Ports.First <= port && port <= cfg.challenge.plan.Ports.Last
		for _, s := range cfg.services {
			taken = taken || s.port() == port
		}
		if !taken {
			return port
		}
	}
}

// counters are what the log and "reload" tell of.
func (c *challenger) counters() (t traffic) {
	if c == nil {
		return nil
	}
	s := c.capture.Stats()
	t = traffic{{"exchange_packets", s.Received}, {"exchange_kernel", s.Dropped}, {"exchange_lost", c.lost.Load()}}
	for o, n := range c.table.Stats() {
		t = append(t, counter{"exchange_" + exchanges.Outcome(o).String(), n})
	}
	return t
}
