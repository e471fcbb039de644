package split

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
)

// Policy is the part of the rules that a reload may change.
type Policy struct {
	// Secrets has the secrets of the clients, from which each gateway has other keys.
	Secrets   *verify.KeyTable
	Ports     int // n
	Tolerance time.Duration
}

// Config is what New needs. All fields except Limit are required.
type Config struct {
	Gateway  string   // the name of this one
	Gateways []string // the names of all, at most 16
	Cluster  *cluster.Cluster
	// Limit is how many parts of one client this gateway publishes. Zero fields have the
	// defaults of sessions.Limit.
	Limit  sessions.Limit
	Policy func() Policy
	Wall   func() time.Time
	Now    func() time.Time // a clock that is never set
	Log    *slog.Logger
}

// Split publishes the parts that this gateway has got of attempts, and completes those of
// which the others have published the rest.
type Split struct {
	cfg       Config
	known     map[string]bool // gateways
	collector *collector
	wake      chan struct{}
	counts    [NumOutcomes]atomic.Uint64
	complete  func(sessions.Completed)
	malformed sync.Once // a line of the log
	lease     lease
}

// New returns a Split. Run must run.
func New(cfg Config) (*Split, error) {
	if cfg.Gateway == "" || len(cfg.Gateways) == 0 || cfg.Cluster == nil || cfg.Policy == nil || cfg.Wall == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("split: all settings are required")
	}
	s := &Split{cfg: cfg, known: map[string]bool{}, collector: newCollector(cfg.Limit), wake: make(chan struct{}, 1)}
	for _, name := range cfg.Gateways {
		s.known[name] = true
	}
	return s, nil
}

// Knock takes a knock that has reached its slot: it is sessions.Config.Parts. It never
// waits, and may be called concurrently.
func (s *Split) Knock(k verify.Knock, from netip.Addr, o sessions.Outcome) {
	switch o {
	case sessions.Recorded:
		first, drops, why := s.collector.add(k, from, s.cfg.Now())
		if drops {
			s.count(why, 1)
		}
		if first {
			select {
			case s.wake <- struct{}{}:
			default:
			}
		}
	case sessions.Opened, sessions.OtherSource, sessions.OtherMinute, sessions.OtherPurpose:
		s.collector.end(k)
	}
}

// maxRequests is how many requests are sent at once.
const maxRequests = 4

// Run publishes parts until ctx ends, and returns nil. It passes on to complete the attempts
// whose last part is this gateway's: sessions.Complete. It may be called once.
func (s *Split) Run(ctx context.Context, complete func(sessions.Completed)) error {
	s.complete = complete
	var sending sync.WaitGroup
	defer sending.Wait()
	slots := make(chan struct{}, maxRequests)
	for {
		due, limited, next := s.collector.take(s.cfg.Now())
		s.count(RateLimited, uint64(limited))
		for _, batch := range s.batches(due) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			sending.Go(func() {
				defer func() { <-slots }()
				s.publish(ctx, batch)
			})
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(max(next.Sub(s.cfg.Now()), time.Millisecond))
		}
		select {
		case <-s.wake:
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

// Stats returns how often each outcome has occurred.
func (s *Split) Stats() (counts [NumOutcomes]uint64) {
	for i := range counts {
		counts[i] = s.counts[i].Load()
	}
	return counts
}

func (s *Split) count(o Outcome, n uint64) { s.counts[o].Add(n) }
