package sessions

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

type arrival struct {
	knock  verify.Knock
	source netip.Addr
}

type client struct {
	window replay.Window
	slot   slot
}

// shard owns the state of some of the clients. Its maps are only read once it
// runs, its clients only touched by its goroutine.
type shard struct {
	index   map[wire.Identifier]uint32
	clients []client
	queue   chan arrival
	counts  [Outcomes]atomic.Uint64
	gate    Gate
	log     *slog.Logger
}

func newShard(gate Gate, log *slog.Logger, clients int) *shard {
	return &shard{
		index:   make(map[wire.Identifier]uint32, clients),
		clients: make([]client, 0, clients),
		queue:   make(chan arrival, queueSize),
		gate:    gate,
		log:     log,
	}
}

func (s *shard) add(c Client) bool {
	if _, ok := s.index[c.Identifier]; ok {
		return false
	}
	s.index[c.Identifier] = uint32(len(s.clients))
	s.clients = append(s.clients, client{window: replay.Restored(c.Mark)})
	return true
}

func (s *shard) deliver(a arrival) {
	select {
	case s.queue <- a:
	default:
		s.counts[Full].Add(1)
	}
}

func (s *shard) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case a := <-s.queue:
			s.handle(a)
		case <-ctx.Done():
		}
	}
}

func (s *shard) handle(a arrival) {
	outcome := s.decide(a)
	s.counts[outcome].Add(1)
	if outcome != Opened {
		return
	}
	g := Grant{a.knock.Identifier(), a.source.Unmap()}
	if err := s.gate.Open(g); err != nil {
		s.counts[Failed].Add(1)
		s.log.Error("a correct sequence opened nothing", "client", g.Identifier, "address", g.Address, "error", err)
	}
}

func (s *shard) decide(a arrival) Outcome {
	i, ok := s.index[a.knock.Identifier()]
	if !ok {
		return Unknown
	}
	c := &s.clients[i]
	if !c.window.Accept(a.knock.Nonce()) {
		return Replay
	}
	return c.slot.record(a.knock, a.source.Unmap())
}
