package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

// queueSize is how many knocks wait for a shard at the most. Only authentic
// ones get so far: it is long when thousands of clients knock in one instant.
const queueSize = 16 << 10

// Grant is a decision: the client has knocked correctly from the address.
type Grant struct {
	Identifier wire.Identifier
	Address    netip.Addr // an IPv4-mapped address is an IPv4 one
}

// Gate opens what Grants are for. One goroutine calls it.
type Gate interface {
	// Open carries out grants together. It returns nil when all is well, and
	// otherwise the error of each grant, in the place of the grant: one that
	// fails keeps no other from opening. It must not retain the slice.
	Open([]Grant) []error
}

// Entry is what has to be remembered of a client before a Grant takes effect.
type Entry struct {
	Identifier   wire.Identifier
	HighestNonce uint32      // the highest nonce used
	Ring         replay.Ring // which ones up to it
	Stamp        uint32      // the timestamp of the knock that completed the attempt
}

// Journal remembers Entries over the end of the process.
type Journal interface {
	// Record returns nil when the grants of the entries may take effect. One
	// goroutine calls it; it must not retain the slice.
	Record([]Entry) error
}

// Client is one registered client.
type Client struct {
	Identifier   wire.Identifier
	HighestNonce uint32 // the largest nonce already used; 0: none, unless Used
	Used         bool   // Mark is used, even if it is 0
	// Table is the number of the key table that it came with, or stays in. Of a
	// client that is new, knocks that an earlier table has authenticated are
	// another client's, of the same identifier.
	Table uint32
	// Readded says that the client is new, although one of its identifier was there
	// before: of its attempt nothing counts any more.
	Readded bool
	// Rekeyed says that knocks of it count that did not before: it has got another
	// secret. What was stamped before Begin is refused, as of a client that is new.
	Rekeyed bool
	// Floor is told which nonces are too low to be worth an HMAC. nil: nobody.
	Floor *verify.Floor
}

// Config is what New needs. Gate, Journal, Now and Log are required.
type Config struct {
	Clients []Client // without duplicates
	Shards  int      // 0: one
	// Start says which knocks are refused because nonces may have been used that
	// nobody knows of. With it, knocks count from Begin on only. nil: none are.
	Start *Start
	// Limit is how many attempts of one client open something.
	Limit   Limit
	Gate    Gate
	Journal Journal
	Now     func() time.Time // clock.Boot
	Log     *slog.Logger
}

// Sessions holds the state of all clients.
type Sessions struct {
	shards   []*shard
	recorder *recorder
	now      func() time.Time
}

// New makes all the memory that the clients will ever need.
func New(cfg Config) (*Sessions, error) {
	if cfg.Gate == nil || cfg.Journal == nil || cfg.Now == nil || cfg.Log == nil || cfg.Start != nil && cfg.Start.Wall == nil {
		return nil, errors.New("sessions: a gate, a journal, a clock and a log are required")
	}
	s := &Sessions{
		shards:   make([]*shard, max(cfg.Shards, 1)),
		recorder: newRecorder(cfg.Journal, cfg.Gate, cfg.Log),
		now:      cfg.Now,
	}
	for i := range s.shards {
		s.shards[i] = newShard(s.recorder, cfg)
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

// Prepare does all that can fail of replacing the list of clients while Run
// runs: a list with duplicates is refused. Nothing changes before commit. A
// client that stays keeps its window and slot. When commit returns nil, removed
// clients get no grant any more, and all that they were granted is in the
// journal. It only fails when ctx ends: then some shards may have the new list,
// and others the old one.
func (s *Sessions) Prepare(clients []Client) (commit func(ctx context.Context) error, err error) {
	lists, err := s.distribute(clients)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.replace(ctx, lists) }, nil
}

// Remove removes the clients that are gone, while Run runs. It promises what
// commit of Prepare does, and fails only when ctx ends.
func (s *Sessions) Remove(ctx context.Context, gone func(wire.Identifier) bool) error {
	return s.update(ctx, func(int) update { return update{gone: gone} })
}

func (s *Sessions) replace(ctx context.Context, lists [][]Client) error {
	return s.update(ctx, func(i int) update { return update{clients: lists[i]} })
}

// update has each shard take its update.
func (s *Sessions) update(ctx context.Context, of func(shard int) update) error {
	for i, sh := range s.shards {
		u := of(i)
		u.done = make(chan struct{})
		select {
		case sh.updates <- u:
			<-u.done
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.recorder.settle(ctx)
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

// Run works off the knocks until ctx ends. Knocks that then still wait are
// dropped; grants that were decided still go to the journal and the gate.
// Run may be called once.
func (s *Sessions) Run(ctx context.Context) error {
	var shards, recorder sync.WaitGroup
	// As CPU profiles name them, beside ingest's stages.
	run := func(wg *sync.WaitGroup, stage string, f func()) {
		wg.Go(func() { pprof.Do(ctx, pprof.Labels("stage", stage), func(context.Context) { f() }) })
	}
	run(&recorder, "record", s.recorder.run)
	for _, sh := range s.shards {
		run(&shards, "session", func() { sh.run(ctx) })
	}
	shards.Wait()
	s.recorder.stop()
	recorder.Wait()
	return nil
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
		sum[QueueFull] += sh.full.Load()
	}
	for o := range sum {
		sum[o] += s.recorder.counts[o].Load()
	}
	return sum
}

func (s *Sessions) shardOf(id wire.Identifier) int {
	return int(xxhash.Sum64(id[:]) % uint64(len(s.shards)))
}
