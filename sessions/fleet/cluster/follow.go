package cluster

import (
	"context"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// followPause is the time before another attempt to follow.
	followPause = 200 * time.Millisecond
	// memberCheck is how often a watch looks whether requests go to another member by
	// now: then its own does not answer.
	memberCheck = time.Second
	// slowApply is how long an Apply takes at least after which changes that have come
	// meanwhile are collected for one call, and collectPause how long none must come then.
	slowApply    = 50 * time.Millisecond
	collectPause = 5 * time.Millisecond
	// maxCollected bounds the changes of such a call.
	maxCollected = 10_000
)

// Change is a key that was written or deleted.
type Change struct {
	Key      string // without the prefix that is followed
	Value    []byte // not retained by the Cluster
	Deleted  bool
	Revision int64 // of the change; in a snapshot, of the last one
	Lease    int64 // 0: none
}

// Follower gets what Follow reads. One goroutine calls it.
type Follower interface {
	// Begin: a snapshot follows. Keys that it does not contain are deleted.
	Begin()
	// Apply gets keys of the snapshot, or later changes, all of one revision in one call. It
	// must not retain the slice. After an Apply that took long, the next one gets all that has
	// changed meanwhile.
	Apply([]Change)
	// Current: the snapshot is complete, and all changes up to the revision have been
	// applied.
	Current(revision int64)
}

// Follow reads the keys with a prefix (after the one of the Cluster), and all their
// changes, until ctx or the Cluster ends. It takes another snapshot when it may have
// missed changes: etcd has compacted them, or a gap was seen. The keys of the Follower may be
// old at any time.
func (c *Cluster) Follow(ctx context.Context, prefix string, f Follower) {
	c.FollowFrom(ctx, prefix, func(ctx context.Context) (int64, error) {
		f.Begin()
		revision, err := c.Scan(ctx, prefix, 0, func(page []Change) error { f.Apply(page); return nil })
		if err == nil {
			f.Current(revision)
		}
		return revision, err
	}, f)
}

// FollowFrom is Follow for a Follower that takes its snapshots by itself: snapshot
// returns the revision that it has read, and after an error it is called again. Begin is
// not called.
func (c *Cluster) FollowFrom(ctx context.Context, prefix string, snapshot func(context.Context) (revision int64, err error), f Follower) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var next int64 // the revision from which to watch; 0: a snapshot is required
	var gap <-chan struct{}
	for {
		if next == 0 {
			gap = c.positions.watch() // before the snapshot
			if revision, err := snapshot(ctx); err == nil {
				next = revision + 1
			}
		}
		if next > 0 {
			next = c.watch(ctx, c.Key(prefix), next, gap, f)
		}
		if !sleep(ctx, followPause) {
			return
		}
	}
}

// watch applies changes from a revision on, until the watch ends. It returns the
// revision from which to go on, or 0: a snapshot is required.
func (c *Cluster) watch(ctx context.Context, prefix string, next int64, gap <-chan struct{}, f Follower) int64 {
	m := c.member()
	client := m.get()
	if client == nil {
		return next
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	cluster := c.Position().Cluster
	// Watch waits for the member, and reconnects to it for ever.
	slow := time.AfterFunc(c.timeout, cancel)
	ch := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(next), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	slow.Stop()
	moved := time.NewTicker(memberCheck)
	defer moved.Stop()
	var changes []Change
	var busy bool // the last Apply took long
	for {
		select {
		case <-gap:
			return 0
		case <-moved.C:
			if c.member() != m {
				return next
			}
		case r, ok := <-ch:
			if !ok {
				return next
			}
			if err := r.Err(); err != nil {
				if r.CompactRevision != 0 {
					return 0
				}
				c.memberFailed(m, err)
				return next
			}
			if r.Header.ClusterId != cluster {
				return 0
			}
			changes = appendChanges(changes[:0], prefix, r.Events)
			ended := false
			if busy {
				changes, ended = collect(ch, cluster, prefix, changes)
			}
			if len(changes) > 0 {
				start := time.Now()
				f.Apply(changes)
				busy = time.Since(start) > slowApply
				next = changes[len(changes)-1].Revision + 1
				f.Current(next - 1)
			}
			if ended {
				return next
			}
		}
	}
}

// collect appends the changes that have come already. ended: the watch has ended; the next
// one shows why.
func collect(ch clientv3.WatchChan, cluster uint64, prefix string, changes []Change) (all []Change, ended bool) {
	pause := time.NewTimer(collectPause)
	defer pause.Stop()
	for len(changes) < maxCollected {
		select {
		case r, ok := <-ch:
			if !ok || r.Err() != nil || r.Header.ClusterId != cluster {
				return changes, true
			}
			changes = appendChanges(changes, prefix, r.Events)
			pause.Reset(collectPause)
		case <-pause.C:
			return changes, false
		}
	}
	return changes, false
}

func appendChanges(changes []Change, prefix string, events []*clientv3.Event) []Change {
	for _, e := range events {
		key := strings.TrimPrefix(string(e.Kv.Key), prefix)
		changes = append(changes, Change{key, e.Kv.Value, e.Type == clientv3.EventTypeDelete, e.Kv.ModRevision, e.Kv.Lease})
	}
	return changes
}
