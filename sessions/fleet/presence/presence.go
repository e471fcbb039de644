package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/cluster"
)

const (
	// Beat is how often a gateway writes its value.
	Beat = 5 * time.Second
	// lease is after which time without a write the key of a gateway is gone.
	lease = 15 * time.Second

	keys = "gateways/"
)

// Config is what Open needs. All fields are required, except Gateways, Settle and Beat.
type Config struct {
	Name string // of this gateway
	// Gateways are the names of the configuration. Of more than MaxGateways, these are known
	// first.
	Gateways []string
	Dir      string // the state directory: see instance.go
	Cluster  *cluster.Cluster
	// Describe returns Release, Expires and Parts. It is called for each write.
	Describe func() Info
	Wall     func() time.Time
	// Settle is how long parts may differ, by their names, before the log has a line about
	// that: the other gateway writes its value only every Beat.
	Settle map[string]time.Duration
	Beat   time.Duration // 0: Beat
	Log    *slog.Logger
}

// Presence is this gateway's key, and what it knows of the others.
type Presence struct {
	cfg  Config
	own  Info // Instance, Run and Started
	view *view

	mu       sync.Mutex // of the rest
	lease    clientv3.LeaseID
	revision int64 // of the key, as this process wrote it; 0: it has not
	took     time.Duration

	used bool // the last line was that another gateway has the name; only Run uses it
}

// Open reads the instance. Run must run, and then Close be called.
func Open(cfg Config) (*Presence, error) {
	if cfg.Beat == 0 {
		cfg.Beat = Beat
	}
	instance, err := makeInstance(cfg.Dir)
	if err != nil {
		return nil, err
	}
	own := Info{Instance: instance, Run: rand.Uint64(), Started: cfg.Wall()}
	return &Presence{cfg: cfg, own: own, view: newView(cfg.Wall, cfg.Gateways)}, nil
}

// NameUsedError is the error of a name that another gateway uses now.
type NameUsedError struct {
	Name  string
	Other Info
}

func (e *NameUsedError) Error() string {
	if e.Other.Started.IsZero() { // its value is unreadable
		return fmt.Sprintf("the name %q is used by another gateway of the fleet, perhaps of another release", e.Name)
	}
	return fmt.Sprintf("the name %q is used by another gateway of the fleet, which runs since %s", e.Name, e.Other.Started.UTC().Format(time.RFC3339))
}

// Hint returns a remedy.
func (e *NameUsedError) Hint() string {
	return "set another name in [fleet]; if the other gateway has been removed without a stop, wait for 15 seconds"
}

// Claim writes the key. It fails with a NameUsedError if another state directory's
// gateway has it. If etcd does not answer in time, Run goes on.
func (p *Presence) Claim(ctx context.Context) error {
	err := p.write(ctx)
	if used, ok := errors.AsType[*NameUsedError](err); ok {
		return used
	}
	return nil
}

// write writes the value, with the lease.
func (p *Presence) write(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease != 0 {
		err := p.cfg.Cluster.KeepAlive(ctx, p.lease)
		switch {
		case cluster.IsNotFound(err):
			p.lease = 0
		case err != nil:
			return err
		}
	}
	if p.lease == 0 {
		id, err := p.cfg.Cluster.Lease(ctx, lease)
		if err != nil {
			return err
		}
		p.lease = id
	}
	key := p.cfg.Cluster.Key(keys + p.cfg.Name)
	for range 3 {
		info := p.describe()
		start := p.cfg.Wall()
		resp, err := p.cfg.Cluster.Txn(ctx,
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", p.revision)},
			[]clientv3.Op{clientv3.OpPut(key, string(info.Append(nil)), clientv3.WithLease(p.lease))},
			[]clientv3.Op{clientv3.OpGet(key)})
		switch {
		case cluster.IsNotFound(err): // the lease has ended meanwhile
			p.lease = 0
			return err
		case err != nil:
			return err
		case resp.Succeeded:
			p.revision, p.took = resp.Header.Revision, max(0, p.cfg.Wall().Sub(start))
			return nil
		}
		known := p.revision
		p.revision = 0
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			found, err := Parse(kvs[0].Value)
			// Another process with this state directory has ended, since the directory
			// is locked, unless it was copied: then each of the two finds the other's
			// value under its key.
			mine := err == nil && (found.Run == p.own.Run || found.Instance == p.own.Instance && known == 0)
			if !mine {
				return &NameUsedError{p.cfg.Name, found}
			}
			p.revision = kvs[0].ModRevision
		}
	}
	return errors.New("the key of this gateway changes all the time")
}

// describe returns the value. The caller holds the mutex.
func (p *Presence) describe() Info {
	i := p.cfg.Describe()
	i.Instance, i.Run, i.Started = p.own.Instance, p.own.Run, p.own.Started
	i.Written, i.Took, i.Release = p.cfg.Wall(), p.took, Word(i.Release)
	return i
}

// Close deletes the key, unless another gateway has it.
func (p *Presence) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Cluster.Timeout())
	defer cancel()
	_ = p.cfg.Cluster.Revoke(ctx, p.lease) // otherwise it ends by itself
}
