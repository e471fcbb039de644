package roster

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/wire"
)

const (
	// minPause and maxPause bound the time before the entries are read again, after they
	// were read and not applied: an attacker who writes to etcd must not make all
	// gateways read a million entries again and again.
	minPause = 500 * time.Millisecond
	maxPause = 30 * time.Second
	// maxPending is how many bytes of entries Follow keeps that no manifest confirms yet.
	// With more, it reads the whole list at the next change.
	maxPending = 16 << 20
)

// Follow calls apply for each list that the gateway must have from then on: first with all
// clients (all, and no removals), later with the changes. Each call ends in one list that an
// editor has written, of that mark; lists may be skipped. An error of apply means that the gateway still
// has the list before; Follow tries again after a pause, with all clients.
//
// It returns when ctx or the Cluster ends. While etcd does not answer, it waits. A list
// that is refused is in Stats and in the log.
//
// An apply may take long. If there is a newer list meanwhile, Follow calls newer with its
// changes, so that rights which that list takes away do not wait. The next apply gets them as
// well. nil: it is not called.
//
// The lines are overwritten when apply, or newer, has returned.
func (r *Roster) Follow(ctx context.Context, apply func(mark Mark, all bool, changes []Change) error, newer func(mark Mark, changes []Change)) error {
	f := &follower{ctx: ctx, roster: r, apply: apply, newer: newer, pause: minPause}
	defer f.await()
	defer r.setAgain(nil)
	for {
		round, cancel := context.WithCancel(ctx)
		wake := make(chan struct{}, 1)
		r.setAgain(func() {
			select {
			case wake <- struct{}{}:
			default:
			}
			cancel()
		})
		f.await()
		f.stop, f.stopped, f.failed = cancel, false, false
		r.cfg.Cluster.FollowFrom(round, root, f.read, f)
		ended := round.Err() == nil // the Cluster has
		cancel()
		f.await()
		if ctx.Err() != nil || ended {
			return context.Cause(ctx)
		}
		if !f.failed {
			continue
		}
		select {
		case <-time.After(f.pause):
		case <-wake:
		case <-ctx.Done():
		}
		f.pause = min(2*f.pause, maxPause)
	}
}

// takeReapply reports whether Again was called since the last call.
func (r *Roster) takeReapply() (was bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.reapply = r.reapply, false
	return was
}

func (r *Roster) setAgain(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again = f
}

// follower is the state of Follow. The goroutine of Follow has it, and that of a job when it
// ends.
type follower struct {
	ctx    context.Context // of Follow
	roster *Roster
	apply  func(Mark, bool, []Change) error
	newer  func(Mark, []Change)

	mu sync.Mutex // of the rest
	// job is an apply of changes that runs; nil: none. late: there is a newer list.
	job  *job
	late bool
	// fresh has the entries that have changed since, and that newer has not got yet.
	fresh map[wire.Identifier]bool
	// stop ends this round: Follow reads the list again. After stopped, the changes of etcd are
	// ignored. failed: not at once.
	stop            func()
	stopped, failed bool
	pause           time.Duration

	// applied is the manifest whose list the gateway has; nil: none, or an apply failed.
	applied []byte

	value   []byte  // the manifest that etcd has
	current *sealer // of the generation that the mirror has
	mirror  *mirror // nil: the entries are not known
	// pending has the entries that differ from the applied list; nil: removed.
	pending map[wire.Identifier][]byte
	size    int  // bytes of pending
	touched bool // since the last decision
}

// read reads the list, decides about it, and returns the revision to watch from.
func (f *follower) read(ctx context.Context) (revision int64, err error) {
	f.await()
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.roster
	f.mirror, f.current, f.touched = nil, nil, false
	if r.takeReapply() {
		f.applied = nil
	}
	f.pending, f.size = map[wire.Identifier][]byte{}, 0
	defer func() { r.unread(err) }()
	s, err := r.readManifest(ctx)
	if s.revision == 0 {
		return 0, err // of etcd
	}
	f.value, f.current = s.value, s.sealer
	if err != nil {
		f.refuse(err)
		return s.revision, nil
	}
	next, err := r.floor.get().judge(s.manifest)
	if err != nil {
		r.setFloor(next)
		f.refuse(err)
		return s.revision, nil
	}
	f.failed = true // until the list is applied: see minPause
	if err := r.readEntries(ctx, &s); err != nil {
		if _, ok := errors.AsType[*AlteredError](err); !ok {
			return 0, err
		}
		f.refuse(err)
		return s.revision, nil
	}
	defer s.wipe()
	f.mirror = s.mirror
	if f.applied != nil && bytes.Equal(f.applied, s.value) {
		r.setFloor(next)
		f.same()
		return s.revision, nil
	}
	changes := make([]Change, len(s.list))
	for i, e := range s.list {
		changes[i] = Change(e)
	}
	f.take(s.manifest, next, changes)
	return s.revision, nil
}

// Begin implements cluster.Follower. FollowFrom does not call it.
func (f *follower) Begin() {}

// Current implements cluster.Follower.
func (f *follower) Current(int64) {}

// Apply implements cluster.Follower. The list is decided about as of the last revision.
func (f *follower) Apply(changes []cluster.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	for _, c := range changes {
		f.note(c)
	}
	f.decide()
}

// note notes what etcd has from now on.
func (f *follower) note(c cluster.Change) {
	if c.Key == listName {
		f.touched, f.value = true, nil
		if !c.Deleted {
			f.value = append([]byte{}, c.Value...)
		}
		return
	}
	if f.current == nil || !f.current.generation.has(c.Key) {
		return
	}
	f.touched = true
	g, id, ok := parseName(c.Key)
	if f.mirror == nil || !ok || g != f.current.generation {
		f.mirror = nil
		return
	}
	if f.job != nil {
		f.fresh[id] = true
	}
	f.size -= len(f.pending[id])
	if c.Deleted {
		f.mirror.remove(id)
		f.pending[id] = nil
	} else {
		f.mirror.set(id, f.current.code(id, c.Value))
		f.pending[id] = c.Value
	}
	if f.size += len(f.pending[id]); f.size > maxPending || len(f.pending) > maxPending/entryOverhead/8 {
		f.mirror = nil
	}
}

// decide decides about the state of etcd at one revision.
func (f *follower) decide() {
	if !f.touched {
		return
	}
	f.touched = false
	f.late = f.job != nil // its end is decided about again
	if f.value == nil {
		f.refuse(ErrNone)
		return
	}
	m, s, err := f.roster.key().openManifest(f.value)
	switch {
	case err != nil:
		f.refuse(err)
		return
	case f.mirror == nil || m.generation != f.current.generation:
		f.restart()
		return
	case !f.mirror.matches(m):
		f.refuse(mismatch(f.mirror, m))
		return
	case bytes.Equal(f.value, f.applied) && f.job == nil:
		clear(f.pending)
		f.size = 0
		f.same()
		return
	}
	next, err := f.roster.floor.get().judge(m)
	if err != nil {
		f.roster.setFloor(next)
		f.refuse(err)
		return
	}
	changes := make([]Change, 0, len(f.pending))
	for id, value := range f.pending {
		if f.job != nil && !f.fresh[id] {
			continue
		}
		var line []byte
		if value != nil {
			if line, err = s.open(nil, id, value); err != nil {
				f.refuse(&AlteredError{"an entry does not open"})
				return
			}
		}
		changes = append(changes, Change{id, line})
	}
	if f.job != nil {
		if clear(f.fresh); f.newer != nil {
			f.newer(m.history[0], changes)
		}
		wipe(changes)
		return
	}
	f.begin(m, next, changes)
}

func wipe(changes []Change) {
	for _, c := range changes {
		clear(c.Line)
	}
}

// take applies a whole list. The floor is on disk before.
func (f *follower) take(m manifest, next level, list []Change) {
	f.roster.setFloor(next)
	f.finish(f.value, m, f.apply(m.history[0], true, list))
}

// finish notes the result of an apply.
func (f *follower) finish(value []byte, m manifest, err error) {
	if err == nil {
		f.applied, f.failed, f.pause = value, false, minPause
		f.took(value, m)
		return
	}
	f.applied, f.failed = nil, true
	if f.ctx.Err() != nil { // this process ends
		f.stopped = true
		return
	}
	f.refuseThat(value, &ApplyError{m.version(), err})
	f.restart()
}

// restart makes Follow read the list again.
func (f *follower) restart() {
	f.stopped = true
	f.stop()
}
