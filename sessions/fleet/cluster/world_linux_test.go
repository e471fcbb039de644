package cluster

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/etcdtest"
)

// open opens a connection that ends with the test.
func open(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// put writes a key in a transaction.
func put(t *testing.T, c *Cluster, key, value string) error {
	t.Helper()
	_, err := c.Txn(t.Context(), nil, []clientv3.Op{clientv3.OpPut(c.Key(key), value)}, nil)
	return err
}

// must repeats an action until it succeeds.
func must(t *testing.T, action func() error) {
	t.Helper()
	for {
		err := action()
		if err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// mirror is a Follower that keeps the keys.
type mirror struct {
	mu        sync.Mutex
	changed   chan struct{}
	keys      map[string]string
	snapshots int
	revision  int64
}

func newMirror() *mirror { return &mirror{changed: make(chan struct{}), keys: map[string]string{}} }

func (m *mirror) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshots++
	m.keys = map[string]string{}
}

func (m *mirror) Apply(list []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range list {
		if c.Deleted {
			delete(m.keys, c.Key)
		} else {
			m.keys[c.Key] = string(c.Value)
		}
	}
}

func (m *mirror) Current(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision = revision
	close(m.changed)
	m.changed = make(chan struct{})
}

// wait waits until a condition holds.
func (m *mirror) wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for {
		m.mu.Lock()
		done, changed := holds(), m.changed
		m.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: does not come; keys %v, %d snapshots", what, m.keys, m.snapshots)
		}
	}
}

func follow(t *testing.T, c *Cluster, prefix string) *mirror {
	m := newMirror()
	var wg sync.WaitGroup
	wg.Go(func() { c.Follow(t.Context(), prefix, m) })
	t.Cleanup(func() { c.Close(); wg.Wait() })
	return m
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func gateway(t *testing.T, o etcdtest.Options) (*etcdtest.Cluster, *etcdtest.Gateway) {
	t.Helper()
	e := etcdtest.Start(t, o)
	return e, e.Gateway(t)
}
