package grants

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// Record is the fleet's record of used nonces.
type Record interface {
	// Known reports whether this gateway has seen that each nonce of an attempt is
	// recorded. It never waits.
	Known(id wire.Identifier, secret verify.Fingerprint, base uint32, count int) bool
	// Recorded reports whether etcd has recorded each nonce of an attempt as used. It may
	// ask etcd; an error means that etcd did not answer.
	Recorded(ctx context.Context, id wire.Identifier, secret verify.Fingerprint, base uint32, count int) (bool, error)
}

// Gate is the gate of this gateway: gate.Services.
type Gate interface {
	OpenShared([]gate.SharedGrant) []error
	CloseShared(sessions.Grant)
	SharedFor(wire.Identifier) time.Duration
}

// Policy is the part of the rules that a reload may change.
type Policy struct {
	Table *verify.KeyTable
	// Secrets are those from which each gateway has other keys; nil: all gateways have
	// the keys of Table.
	Secrets *verify.KeyTable
	// Split: a grant may be that of a split sequence, whose datagrams the gateway has made
	// with the secret itself (package split). It requires Secrets.
	Split     bool
	Ports     int // n
	Tolerance time.Duration
}

// Config is what New needs. All fields are required.
type Config struct {
	Gateway string // the name of this one: without a slash
	Cluster *cluster.Cluster
	Record  Record
	Gate    Gate
	// Close ends all that clients have: sessions.Config.Close.
	Close  func([]sessions.Closing)
	Policy func() Policy
	Wall   func() time.Time
	Log    *slog.Logger
}

// Grants sends the grants of this gateway to the others, and carries out theirs.
type Grants struct {
	cfg    Config
	counts [NumOutcomes]atomic.Uint64
	sender sender

	mu   sync.Mutex // of book
	book *book

	work sync.Mutex // of what follows: one change at a time
	// snapshot are the changes of one that is not complete; nil: there is none.
	snapshot []cluster.Change
	// waiting are the values that wait for the record.
	waiting waiting
}

// New returns Grants. Run must run.
func New(cfg Config) (*Grants, error) {
	if cfg.Gateway == "" || cfg.Cluster == nil || cfg.Record == nil || cfg.Gate == nil || cfg.Close == nil ||
		cfg.Policy == nil || cfg.Wall == nil || cfg.Log == nil {
		return nil, errors.New("grants: all settings are required")
	}
	return &Grants{cfg: cfg, book: newBook(), sender: newSender(), waiting: newWaiting()}, nil
}

// retryPause is the time between two attempts to reach etcd.
const retryPause = 200 * time.Millisecond

// Run sends and follows grants until ctx ends, and returns nil.
func (g *Grants) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { g.cfg.Cluster.Follow(ctx, prefix, (*follower)(g)); return nil })
	group.Go(func() error { g.send(ctx); return nil })
	group.Go(func() error { g.askAll(ctx); return nil })
	return group.Wait()
}

// Stats returns how often each outcome has occurred.
func (g *Grants) Stats() (counts [NumOutcomes]uint64) {
	for i := range counts {
		counts[i] = g.counts[i].Load()
	}
	return counts
}

func (g *Grants) count(o Outcome) { g.counts[o].Add(1) }

func (g *Grants) limits(p Policy, id wire.Identifier) limits {
	return limits{p.Tolerance, g.cfg.Gate.SharedFor(id)}
}
