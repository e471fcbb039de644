package roster

import (
	"bytes"
	"context"
)

// decision is the list about which Follow has decided last.
type decision struct {
	value   []byte // its manifest; nil: there was none
	version uint64 // 0: unknown
}

// decided notes that Follow has decided about the list of a manifest. The caller holds the
// lock of the Roster.
func (f *follower) decided(value []byte) {
	r := f.roster
	r.stats.Decided = true
	r.decided = decision{value: value}
	if m, _, err := r.keys.openManifest(value); err == nil {
		r.decided.version = m.version()
	}
	r.announce()
}

// announce ends the waits of Changed. The caller holds the lock.
func (r *Roster) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns a channel that is closed when Stats may have changed.
func (r *Roster) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Await waits until Follow, which runs, has decided about the list that etcd has at the
// call, or about a later one. It returns the version in force, and why that is not the one
// of etcd, if it is not. If ctx ends before, the error is that of etcd, or of ctx.
func (r *Roster) Await(ctx context.Context) (version uint64, err error) {
	s, err := r.readManifest(ctx)
	if s.revision == 0 {
		return r.Stats().Version, err
	}
	for {
		r.mu.Lock()
		stats, decided, changed := r.stats, r.decided, r.changed
		r.mu.Unlock()
		if stats.Decided && (bytes.Equal(decided.value, s.value) || s.version() > 0 && decided.version > s.version()) {
			return stats.Version, stats.Refusal
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err = stats.Unread; err == nil {
				err = ctx.Err()
			}
			return stats.Version, err
		}
	}
}
