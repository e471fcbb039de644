package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// queueSize is how many knocks wait for a shard at the most. Only authentic
// ones get so far, so it is never long but under a flood of replays.
const queueSize = 1024

// Grant is a decision: the client has knocked correctly from the address.
type Grant struct {
	Identifier wire.Identifier
	Address    netip.Addr // an IPv4-mapped address is an IPv4 one
}

// Gate opens what a Grant is for. Open must be safe for concurrent use.
type Gate interface {
	Open(Grant) error
}

// Client is one registered client.
type Client struct {
	Identifier wire.Identifier
	Mark       uint32 // the largest nonce already used; 0: none
}

// Config is what New needs. All fields but Shards are required.
type Config struct {
	Clients []Client // without duplicates
	Shards  int      // 0: one
	Gate    Gate
	Log     *slog.Logger
}

// Sessions holds the state of all clients.
type Sessions struct {
	shards []*shard
}

// New makes all the memory that the clients will ever need.
func New(cfg Config) (*Sessions, error) {
	if cfg.Gate == nil || cfg.Log == nil {
		return nil, errors.New("sessions: a gate and a log are required")
	}
	s := &Sessions{shards: make([]*shard, max(cfg.Shards, 1))}
	for i := range s.shards {
		s.shards[i] = newShard(cfg.Gate, cfg.Log)
	}
	lists, err := s.distribute(cfg.Clients)
	if err != nil {
		return nil, err
	}
	for i, sh := range s.shards {
		sh.replace(lists[i])
	}
	return s, nil
}

// Update replaces the list of clients while Run runs. A client that stays
// keeps its window and slot. When Update returns nil, those who left get no
// grant any more. A list with duplicates changes nothing.
func (s *Sessions) Update(ctx context.Context, clients []Client) error {
	lists, err := s.distribute(clients)
	if err != nil {
		return err
	}
	for i, sh := range s.shards {
		done := make(chan struct{})
		select {
		case sh.updates <- update{lists[i], done}:
			<-done
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// distribute sorts clients by their shards.
func (s *Sessions) distribute(clients []Client) ([][]Client, error) {
	lists := make([][]Client, len(s.shards))
	seen := make(map[wire.Identifier]bool, len(clients))
	for _, c := range clients {
		if seen[c.Identifier] {
			return nil, fmt.Errorf("sessions: client %s occurs twice", c.Identifier)
		}
		seen[c.Identifier] = true
		i := s.shardOf(c.Identifier)
		lists[i] = append(lists[i], c)
	}
	return lists, nil
}

// Run works off the knocks until ctx ends; what then still waits is dropped.
func (s *Sessions) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, sh := range s.shards {
		g.Go(func() error {
			sh.run(ctx)
			return nil
		})
	}
	return g.Wait()
}

// Deliver hands a knock to the shard that owns its client. It does not block
// or allocate; if the shard's queue is full, it drops the knock and counts it.
func (s *Sessions) Deliver(k verify.Knock, source netip.Addr) {
	s.shards[s.shardOf(k.Identifier())].deliver(arrival{k, source})
}

// Stats returns how many knocks had each outcome since the start.
func (s *Sessions) Stats() (sum [Outcomes]uint64) {
	for _, sh := range s.shards {
		for o := range sum {
			sum[o] += sh.counts[o].Load()
		}
	}
	return sum
}

func (s *Sessions) shardOf(id wire.Identifier) int {
	return int(xxhash.Sum64(id[:]) % uint64(len(s.shards)))
}
