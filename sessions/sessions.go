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
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// queueSize is the maximum number of knocks in a shard's queue. Only authentic
// knocks get so far; the queue is long when thousands of clients knock at the
// same time.
const queueSize = 16 << 10

// Grant is the decision to open for a client and an address: the client has
// completed an attempt from the address.
type Grant struct {
	Identifier wire.Identifier
	Address    netip.Addr // an IPv4-mapped address is stored as IPv4
	// Differ is in how many low bits of Address the sources of the attempt's knocks
	// differ; 0: all came from Address. Only services that open for a prefix which has
	// all of them may open.
	Differ uint8
	ISN    wire.ISN // of the attempt or exchange; zero: not derived, as no service requires it
	// Minute is the minute of the attempt's knock ports, and PortSecret the secret from
	// which these were drawn; zero: not known, as of an exchange. A service whose port
	// rotates opens the port that is drawn from both.
	Minute     schedule.Minute
	PortSecret schedule.SecretName
	Attempt    Attempt // zero: of an exchange
}

// Attempt identifies the datagrams of an attempt. With the secret, they can be made
// again, unless their timestamps are Mixed.
type Attempt struct {
	Secret    verify.Fingerprint
	Base      uint32 // the nonce of the first
	Timestamp uint32
	Count     uint8 // n
	Mixed     bool  // they have several timestamps
}

// Within reports whether the sources of all knocks are in one prefix of these lengths:
// of IPv4 or IPv6.
func (g Grant) Within(len4, len6 int) bool {
	bits := len6
	if g.Address.Is4() {
		bits = len4
	}
	return bits+int(g.Differ) <= g.Address.BitLen()
}

// Gate carries out Grants. One goroutine calls it.
type Gate interface {
	// Open carries out grants together. It returns nil if all succeed, and
	// otherwise an error (or nil) for each grant, in the order of the grants. A
	// grant that fails must not prevent the others. Open must not retain the
	// slice.
	Open([]Grant) []error
}

// Closing is the decision to end what a client has open: the client has completed a
// closing attempt. No address limits it, so that a client can close what it has left open
// at an address that it no longer has.
type Closing struct {
	Identifier wire.Identifier
	Address    netip.Addr // of the attempt, for the log
	Attempt    Attempt
}

// Entry is the record of the nonces that a client has used with one secret. It
// must be in the journal before a Grant takes effect.
type Entry struct {
	Identifier   wire.Identifier
	Secret       verify.Fingerprint
	HighestNonce uint32      // the highest nonce used
	Ring         replay.Ring // the used nonces up to HighestNonce
	Stamp        uint32      // the timestamp of the knock that completed the attempt
	// Base and Count are the nonces of the attempt itself, of which a grant may come: Base
	// and those that follow. HighestNonce and Ring have them, with the nonces of knocks
	// whose attempts are not complete. A connection has one nonce.
	Base  uint32
	Count uint8
}

// Journal stores Entries so that they outlive the process.
type Journal interface {
	// Record returns nil when the grants of all entries may take effect, and otherwise
	// an error (or nil) for each entry, in the order of the entries. ErrUsed: a nonce of
	// the attempt is in the journal already. One goroutine calls it; it must not retain
	// the slice.
	Record([]Entry) []error
}

// ErrUsed is the error of an Entry with a nonce that another server has used, which
// shares the Journal.
var ErrUsed = errors.New("a nonce was used at another gateway")

// Client is one registered client.
type Client struct {
	Identifier wire.Identifier
	Current    Secret
	Previous   Secret // the secret before a rotation; without a Fingerprint: none
	// Table is the number of the key table that contains the client. For a new
	// client or secret, a knock that an earlier table authenticated belongs to a
	// former one, and is refused.
	Table uint32
	// Readded: the client is new, although there was a client with its identifier
	// before. The attempt of that client is discarded.
	Readded bool
	// Spread is how far the sources of one attempt may differ: what the service of the
	// client with the shortest prefix allows.
	Spread Spread
}

// Config is what New needs. Gate, Journal, Now and Log are required.
type Config struct {
	Clients []Client // without duplicates
	Shards  int      // 0: one
	// Start defines which knocks are refused because their nonces may be used
	// without the server knowing it. With a Start, no knock is accepted before
	// Begin, except of clients of a Fresh start. nil: no knock is refused.
	Start *Start
	// Limit is the rate at which one client's attempts get grants.
	Limit Limit
	Gate  Gate
	// Close ends all leases of clients. The goroutine that calls Gate calls it, before
	// Gate opens for later attempts of these clients. It must not retain the slice. nil:
	// closing attempts have no effect.
	Close   func([]Closing)
	Journal Journal
	// Parts gets each knock, its source and its outcome, if attempts may be split over
	// servers (split.go). Opened means that the attempt is complete. The shards call it; it
	// must return at once. nil: no attempt is split.
	Parts func(verify.Knock, netip.Addr, Outcome)
	// Test is a client with which the server tests itself. No counter has its knocks, and
	// Parts does not get them; Tested gets the outcome of each, and must return at once. The
	// shards and the goroutine of Gate call it. The zero value: there is none.
	Test   wire.Identifier
	Tested func(Outcome)
	Now    func() time.Time // clock.Boot
	Log    *slog.Logger
}

// Sessions holds the state of all clients.
type Sessions struct {
	shards   []*shard
	recorder *recorder
	now      func() time.Time
}

// New allocates all memory for the clients.
func New(cfg Config) (*Sessions, error) {
	if cfg.Gate == nil || cfg.Journal == nil || cfg.Now == nil || cfg.Log == nil ||
		cfg.Start != nil && cfg.Start.Wall == nil {
		return nil, errors.New("sessions: a gate, a journal, a clock and a log are required")
	}
	s := &Sessions{
		shards:   make([]*shard, max(cfg.Shards, 1)),
		recorder: newRecorder(cfg.Journal, cfg.Gate, cfg.Close, cfg.Log),
		now:      cfg.Now,
	}
	s.recorder.now, s.recorder.test = cfg.Now, tested{cfg.Test, cfg.Tested}
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

// Prepare checks a new list of clients; it refuses duplicates. The list takes
// effect with commit, which may be called while Run runs. A secret that stays
// with its client keeps its window and slot. When commit returns nil, removed
// clients get no further grants, and all grants that they got are in the journal.
// commit returns an error only when ctx ends: then some shards may have the new
// list, and others the old one.
func (s *Sessions) Prepare(clients []Client) (commit func(ctx context.Context) error, err error) {
	lists, err := s.distribute(clients)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.replace(ctx, lists) }, nil
}

// Remove removes the clients that are gone, while Run runs. It has the guarantees
// of Prepare's commit, and returns an error only when ctx ends.
func (s *Sessions) Remove(ctx context.Context, gone func(wire.Identifier) bool) error {
	return s.update(ctx, func(int) update { return update{gone: gone} })
}

func (s *Sessions) replace(ctx context.Context, lists [][]Client) error {
	return s.update(ctx, func(i int) update { return update{clients: lists[i]} })
}

// update makes each shard apply its update, and waits for the grants before it.
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
	return s.recorder.flush(ctx)
}

// distribute splits a list of clients by shard. It refuses duplicates, and clients
// without a secret.
func (s *Sessions) distribute(clients []Client) ([][]Client, error) {
	lists := make([][]Client, len(s.shards))
	seen := make(map[wire.Identifier]bool, len(clients))
	for _, c := range clients {
		if seen[c.Identifier] {
			return nil, fmt.Errorf("sessions: client %s occurs twice", c.Identifier)
		}
		seen[c.Identifier] = true
		if c.Current.Fingerprint == 0 {
			return nil, fmt.Errorf("sessions: client %s has no secret", c.Identifier)
		}
		i := s.shardOf(c.Identifier)
		lists[i] = append(lists[i], c)
	}
	return lists, nil
}

// Run processes knocks until ctx ends. Knocks that are still queued then are
// dropped; queued grants still go to the journal and the gate. Run may be called
// once.
func (s *Sessions) Run(ctx context.Context) error {
	var shards, recorder sync.WaitGroup
	// The labels are the names of the stages in CPU profiles, as in ingest.
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

// Deliver passes a knock to the shard that owns its client. It does not block
// or allocate. If the shard's queue is full, it drops the knock and counts it.
func (s *Sessions) Deliver(k verify.Knock, source netip.Addr) {
	s.shards[s.shardOf(k.Identifier())].deliver(arrival{k, source})
}

// Stats returns the number of knocks with each outcome since the start.
func (s *Sessions) Stats() (sum [NumOutcomes]uint64) {
	for _, sh := range s.shards {
		for o := range sum {
			sum[o] += sh.counts[o].Load()
		}
		sum[QueueFull] += sh.queueFull.Load()
	}
	for o := range sum {
		sum[o] += s.recorder.counts[o].Load()
	}
	return sum
}

func (s *Sessions) shardOf(id wire.Identifier) int {
	return int(xxhash.Sum64(id[:]) % uint64(len(s.shards)))
}
