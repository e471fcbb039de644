package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

const (
	// logPause is the time between two messages about the same failure.
	logPause = time.Minute
	// probeEvery is how often an idle gateway asks for the position: how long it may
	// take to see a gap without knocks.
	probeEvery = 5 * time.Second
	// probeRetry is the same while etcd does not answer.
	probeRetry = time.Second
)

// Health is whether etcd answers.
type Health struct {
	Available bool
	Since     time.Time // by Config.Now; zero: neither an answer nor a failure yet
	Err       string    // of the last failed request, while it is not available
}

type health struct {
	mu        sync.Mutex
	is        Health
	logged    time.Time // when a failure was logged last
	refused   time.Time // when a refusal was logged last
	announced bool      // since then, that etcd answers
}

// Health returns whether the last request got an answer.
func (c *Cluster) Health() Health {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	return c.health.is
}

func (c *Cluster) answered(m *member) {
	c.health.mu.Lock()
	was := c.health.is
	if !was.Available {
		c.health.is = Health{Available: true, Since: c.now()}
	}
	announced := c.health.announced
	c.health.announced = true
	c.health.mu.Unlock()
	if !announced {
		c.log.Info("etcd answers", "endpoint", m.endpoint)
	}
}

// failed notes a request that got no answer from any member.
func (c *Cluster) failed(err error) {
	now := c.now()
	c.health.mu.Lock()
	if c.health.is.Available || c.health.is.Since.IsZero() {
		c.health.is.Available, c.health.is.Since = false, now
	}
	c.health.is.Err = err.Error()
	due := c.health.logged.IsZero() || now.Sub(c.health.logged) >= logPause
	if due {
		c.health.logged, c.health.announced = now, false
	}
	c.health.mu.Unlock()
	if due {
		c.log.Error("etcd unavailable; nothing opens", "error", err)
	}
}

// refused notes a request that etcd answered with an error, such as that its disk is full.
func (c *Cluster) refused(err error) {
	if codeOf(err) == codes.NotFound {
		return // a lease that has ended
	}
	now := c.now()
	c.health.mu.Lock()
	due := c.health.refused.IsZero() || now.Sub(c.health.refused) >= logPause
	if due {
		c.health.refused = now
	}
	c.health.mu.Unlock()
	if due {
		c.log.Error("etcd refused a request", "error", err)
	}
}

// memberFailed notes that one member did not answer. At a start, the first requests may come
// before the connection: that is no failure yet.
func (c *Cluster) memberFailed(m *member, err error) {
	if errors.Is(err, errNoToken) {
		return
	}
	now := c.now()
	m.mu.Lock()
	due := m.logged.IsZero() || now.Sub(m.logged) >= logPause
	if due {
		m.logged = now
	}
	m.mu.Unlock()
	if due {
		c.log.Warn("etcd member does not answer", "endpoint", m.endpoint, "error", err)
	}
}

// probeOptions are those of the read of probe. It reads one key, which no gateway writes:
// of a range, etcd counts all keys, and a million take it a third of a second.
var probeOptions = []clientv3.OpOption{clientv3.WithKeysOnly()}

// probe asks for the position again and again, until Close.
func (c *Cluster) probe() {
	for {
		pause := probeEvery
		_, err := c.Get(c.ctx, c.prefix, probeOptions...)
		if err != nil {
			pause = probeRetry
		}
		if !sleep(c.ctx, pause) {
			return
		}
	}
}

// sleep reports whether a time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
