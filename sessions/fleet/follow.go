package fleet

import (
	"context"
	"runtime/debug"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/wire"
)

// saveEvery is how often the position is written, if it has changed.
const saveEvery = 5 * time.Second

// Run follows the record until ctx ends. It passes on to learn the nonces that are used:
// see sessions.Learn.
func (j *Journal) Run(ctx context.Context, learn func(context.Context, []sessions.Entry) error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.savePosition(ctx)
	}()
	j.cluster.Follow(ctx, nonces, &follower{Journal: j, ctx: ctx, learn: learn})
	<-done
}

func (j *Journal) savePosition(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.position.raise(j.limit())
			if err := j.position.save(j.cluster.Position()); err != nil {
				j.log.Error("failed to write the position in etcd", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// follower is a cluster.Follower.
type follower struct {
	*Journal
	ctx   context.Context
	learn func(context.Context, []sessions.Entry) error
	// snapshot is how many keys of a snapshot have come, plus 1; 0: none comes.
	snapshot int
}

// largeSnapshot is how many keys leave more garbage than a gateway should keep.
const largeSnapshot = 100_000

// Begin implements cluster.Follower.
func (f *follower) Begin() { f.snapshot = 1 }

// Current implements cluster.Follower. The answers of a large snapshot are as much garbage
// as the view has records, which the collector would let the process keep.
func (f *follower) Current(int64) {
	if f.snapshot > largeSnapshot {
		debug.FreeOSMemory()
	}
	f.snapshot = 0
}

// Apply takes records of registered clients.
func (f *follower) Apply(changes []cluster.Change) {
	if f.snapshot > 0 {
		f.snapshot += len(changes)
	}
	var learned []sessions.Entry
	deleted, lost := false, false
	for _, c := range changes {
		if len(c.Key) != len(wire.Identifier{}) {
			continue // no key of a gateway
		}
		id := wire.Identifier([]byte(c.Key))
		if c.Deleted {
			deleted = true
			continue
		}
		if !f.registered(id) {
			continue
		}
		v, err := parse(c.Value)
		if err != nil {
			f.logUnreadable(id, err)
			continue
		}
		lost = !f.view.set(id, known{v, c.Revision}) || lost
		for _, r := range v.records {
			learned = append(learned, sessions.Entry{Identifier: id, Secret: r.secret, HighestNonce: r.highest, Ring: r.ring})
		}
	}
	switch {
	case deleted:
		f.gap(errDeleted, f.cluster.Position())
	case lost:
		f.gap("the record of a client lost nonces", f.cluster.Position())
	}
	if len(learned) > 0 {
		f.learn(f.ctx, learned) // fails only with ctx
	}
}

// logUnreadable names the first record of a client that this release cannot read.
func (j *Journal) logUnreadable(id wire.Identifier, err error) {
	j.unreadable.Do(func() {
		j.log.Error("a record of the fleet is unreadable; the client cannot open", "client", id, "error", err)
	})
}
