package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/etcdtest"
)

// TestPages: a snapshot of more than one page has every key once, and changes follow.
func TestPages(t *testing.T) {
	t.Parallel()
	e, g := gateway(t, etcdtest.Options{})
	const keys = 2*pageSize + 7
	for i := 0; i < keys; i += MaxOperations {
		var ops []clientv3.Op
		for k := i; k < min(keys, i+MaxOperations); k++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%sn/%05d", DefaultPrefix, k), "v"))
		}
		if _, err := e.Root().Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Root().Put(t.Context(), DefaultPrefix+"o", "another prefix"); err != nil {
		t.Fatal(err)
	}
	c := open(t, Config{Endpoints: g.Endpoints()})
	m := follow(t, c, "n/")
	m.wait(t, "the snapshot", func() bool { return m.revision > 0 })
	if len(m.keys) != keys {
		t.Errorf("got %d keys, want %d", len(m.keys), keys)
	}
	if _, err := e.Root().Delete(t.Context(), DefaultPrefix+"n/00000"); err != nil {
		t.Fatal(err)
	}
	must(t, func() error { return put(t, c, "n/new", "1") })
	m.wait(t, "the changes", func() bool { return m.keys["00000"] == "" && m.keys["new"] == "1" })
	if m.snapshots != 1 {
		t.Errorf("%d snapshots", m.snapshots)
	}
}

// TestCompacted: changes that etcd compacted while the gateway was cut off come by
// another snapshot.
func TestCompacted(t *testing.T) {
	t.Parallel()
	e, g := gateway(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: g.Endpoints(), Timeout: 200 * time.Millisecond})
	m := follow(t, c, "")
	must(t, func() error { return put(t, c, "a", "1") })
	m.wait(t, "a", func() bool { return m.keys["a"] == "1" })
	g.Each((*etcdtest.Path).Cut)
	for _, key := range []string{"b", "c"} {
		if _, err := e.Root().Put(t.Context(), DefaultPrefix+key, "2"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Root().Delete(t.Context(), DefaultPrefix+"a"); err != nil {
		t.Fatal(err)
	}
	e.Compact(t)
	g.Each((*etcdtest.Path).Heal)
	m.wait(t, "what was missed", func() bool { return len(m.keys) == 2 && m.keys["b"]+m.keys["c"] == "22" })
	if c.Gaps() != 0 {
		t.Error("compaction was taken for a gap")
	}
}

// TestGap: an etcd that was restored from a backup, or replaced, has a gap, which is
// reported before the answer is used, and ends with another snapshot. The same holds for
// a gateway that remembers its position from before its start. A plain restart has none.
func TestGap(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprintf("same identifier %v", same), func(t *testing.T) {
			t.Parallel()
			e, g := gateway(t, etcdtest.Options{})
			var mu sync.Mutex
			var gaps []Gap
			cfg := Config{Endpoints: g.Endpoints(), Timeout: 500 * time.Millisecond, Gap: func(g Gap) {
				mu.Lock()
				defer mu.Unlock()
				gaps = append(gaps, g)
			}}
			seen := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(gaps)
			}
			c := open(t, cfg)
			m := follow(t, c, "")
			must(t, func() error { return put(t, c, "a", "1") })
			backup := e.Snapshot(t)
			for range 20 {
				must(t, func() error { return put(t, c, "a", "2") })
			}
			m.wait(t, "a", func() bool { return m.keys["a"] == "2" })
			e.Kill()
			e.Restart(t)
			e.Ready(t)
			must(t, func() error { return put(t, c, "b", "2") })
			if n := seen(); n != 0 {
				t.Fatalf("a restart of etcd was taken for a gap: %v", gaps)
			}
			before := c.Position()
			e.Restore(t, backup, same)
			must(t, func() error { return put(t, c, "b", "3") })
			if n := seen(); n != 1 || gaps[0].Before != before {
				t.Errorf("got %v, want one gap from %v", gaps, before)
			}
			if got := c.Gaps(); got != 1 {
				t.Errorf("%d gaps counted", got)
			}
			m.wait(t, "the restored keys", func() bool { return m.keys["a"] == "1" && m.keys["b"] == "3" })

			cfg.Position = before
			later := open(t, cfg)
			must(t, func() error { return put(t, later, "c", "") })
			if n := seen(); n != 2 {
				t.Errorf("%d gaps, want another one of the gateway that starts", n)
			}
		})
	}
}

// TestIdleGap: a gateway without knocks sees a gap, too, by itself.
func TestIdleGap(t *testing.T) {
	t.Parallel()
	e, g := gateway(t, etcdtest.Options{})
	if _, err := e.Root().Put(t.Context(), DefaultPrefix+"a", ""); err != nil {
		t.Fatal(err)
	}
	gap := make(chan Gap, 1)
	p := Position{1, 2}
	open(t, Config{Endpoints: g.Endpoints(), Position: p, Gap: func(g Gap) { gap <- g }})
	select {
	case g := <-gap:
		if g.Before != p || g.Now.Cluster == p.Cluster {
			t.Errorf("got %v", g)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no gap was seen")
	}
}

// slowFollower needs long for its first changes.
type slowFollower struct {
	mu    sync.Mutex
	wait  func()
	calls int
	keys  map[string]bool
}

func (f *slowFollower) Begin()        {}
func (f *slowFollower) Current(int64) {}

func (f *slowFollower) Apply(changes []Change) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for _, c := range changes {
		f.keys[c.Key] = true
	}
}

// TestSlowFollower: the changes that come while a Follower is busy are collected for few
// calls, so that it does not fall behind.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	_, g := gateway(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: g.Endpoints()})
	written := make(chan struct{})
	f := &slowFollower{keys: map[string]bool{}, wait: func() {
		<-written
		time.Sleep(2 * slowApply)
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	following := make(chan struct{})
	wg.Go(func() {
		c.FollowFrom(ctx, "n/", func(ctx context.Context) (int64, error) {
			got, err := c.Get(ctx, c.Key("n/"))
			if err != nil {
				return 0, err
			}
			close(following)
			return got.Header.Revision, nil
		}, f)
	})
	<-following
	const keys = 100
	for i := range keys {
		must(t, func() error { return put(t, c, fmt.Sprintf("n/%d", i), "v") })
	}
	close(written)
	all := func() (n, calls int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.keys), f.calls
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		n, calls := all()
		if n == keys {
			if calls > keys/2 {
				t.Errorf("%d calls", calls)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d keys in %d calls", n, keys, calls)
		}
	}
}
