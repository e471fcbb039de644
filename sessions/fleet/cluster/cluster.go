package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Cluster is a connection to etcd. Its methods may be called by many goroutines.
type Cluster struct {
	prefix  string
	timeout time.Duration
	log     *slog.Logger
	members []*member
	// preferred is the index of the member that gets the next request.
	preferred atomic.Uint32
	positions positions
	health    health
	now       func() time.Time

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open returns a connection that must be closed. It never waits for etcd. Errors are
// those of the configuration, and of its files.
func Open(cfg Config) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	t, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	c := &Cluster{prefix: cfg.Prefix, timeout: cfg.Timeout, log: cfg.Log, now: cfg.Now}
	if c.prefix == "" {
		c.prefix = DefaultPrefix
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.positions.init(cfg.Position, cfg.Gap)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, e := range cfg.Endpoints {
		c.members = append(c.members, c.connect(e, cfg, t))
	}
	c.wg.Go(c.probe)
	return c, nil
}

// connect returns a member, whose client a goroutine makes: with a password, that waits
// for etcd.
func (c *Cluster) connect(endpoint string, cfg Config, t *tls.Config) *member {
	m := &member{endpoint: endpoint}
	c.wg.Go(func() { m.connect(c.ctx, cfg, t.Clone(), c.timeout, func(err error) { c.memberFailed(m, err) }) })
	return m
}

// member returns the one that gets the next request.
func (c *Cluster) member() *member { return c.members[int(c.preferred.Load())%len(c.members)] }

// Close ends all requests.
func (c *Cluster) Close() {
	c.cancel()
	c.wg.Wait()
	for _, m := range c.members {
		m.close()
	}
}

// Prefix is the prefix of all keys.
func (c *Cluster) Prefix() string { return c.prefix }

// Key returns the full name of a key.
func (c *Cluster) Key(name string) string { return c.prefix + name }

// Timeout is the maximum time of a request.
func (c *Cluster) Timeout() time.Duration { return c.timeout }
