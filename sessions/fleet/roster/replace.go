package roster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/verify/wire"
)

const (
	// batchSize and batchBytes bound a request of Replace. The members answer others
	// between two of them.
	batchSize  = 100
	batchBytes = 512 << 10
	// cleanTime is the longest time for the removal of a generation that failed.
	cleanTime = 10 * time.Second
)

// Replace writes a new list, of clients that occur once each. It writes a new generation
// beside the old one, switches to it in one transaction, and removes the old one. Until
// the switch, the old list is in force, whatever happens. The first key of the key file
// seals the new generation.
//
// All gateways accept this list, also those that have refused others: see
// NotNewerError. Errors are KeyError, ErrReplacing, and those of etcd, which may leave the
// list replaced.
func (r *Roster) Replace(ctx context.Context, list iter.Seq[Entry]) error {
	return r.replace(ctx, list, func(s snapshot) error { return nil }, true)
}

// ReplaceAt is Replace for a list that was made of a version that Load has returned.
// ErrChanged: there is a newer one. Gateways that refuse the old list refuse this one.
func (r *Roster) ReplaceAt(ctx context.Context, version uint64, list iter.Seq[Entry]) error {
	return r.replace(ctx, list, func(s snapshot) error {
		if s.version() != version || version == 0 {
			return ErrChanged
		}
		_, err := r.floor.check(s.manifest)
		return err
	}, false)
}

// Reseal writes the present list again, sealed with the first key of the key file.
func (r *Roster) Reseal(ctx context.Context) error {
	for {
		s, err := r.read(ctx)
		if err != nil {
			return err
		}
		err = r.ReplaceAt(ctx, s.manifest.version(), func(yield func(Entry) bool) {
			for _, e := range s.list {
				if !yield(e) {
					return
				}
			}
		})
		s.wipe()
		if !errors.Is(err, ErrChanged) {
			return err
		}
	}
}

// replace writes a list after each manifest that allowed accepts. whole: an operator has
// written all of it.
func (r *Roster) replace(ctx context.Context, list iter.Seq[Entry], allowed func(snapshot) error, whole bool) error {
	old, err := r.before(ctx, allowed)
	if err != nil {
		return err
	}
	g := newGeneration()
	s := newSealer(r.key().secrets[0], g)
	r.step()
	if _, err := r.cfg.Cluster.Txn(ctx, nil, []clientv3.Op{clientv3.OpPut(r.claimKey(), g.String())}, nil); err != nil {
		return err
	}
	if old.version() > 0 {
		err = r.sweep(ctx, old, g)
	}
	next := manifest{generation: g}
	if err == nil {
		err = r.fill(ctx, s, &next, list)
	}
	for err == nil {
		// old is read again: an editor may have been faster.
		if old, err = r.before(ctx, allowed); err != nil {
			break
		}
		version := old.version()
		if next.whole, next.history = old.manifest.whole, old.manifest.history; whole {
			// By the clock, so that it is higher than each version that any gateway has
			// applied, also if the manifest was lost.
			version = max(version, r.floor.get().Version, uint64(max(0, r.cfg.Now().UnixMilli())))
			next.whole = version + 1
		}
		m := next.next(version+1, r.cfg.Now())
		var done bool
		done, err = r.write(ctx, old.value, m, s,
			[]clientv3.Cmp{unchanged(r.claimKey(), []byte(g.String()))}, []clientv3.Op{clientv3.OpDelete(r.claimKey())})
		if done {
			if err := r.sweepAll(ctx); err != nil {
				r.cfg.Log.Warn("replaced list of clients not removed from etcd", "error", err)
			}
			return nil
		}
		if err == nil {
			err = r.claimed(ctx, g)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	r.abandon(ctx, g)
	return err
}

// version is that of the manifest, or 0 without one that opens.
func (s snapshot) version() uint64 {
	if len(s.manifest.history) == 0 {
		return 0
	}
	return s.manifest.version()
}

// before reads the manifest that a new list follows. None is allowed, and one that was
// altered: otherwise an attacker could keep the operator from writing the list again.
func (r *Roster) before(ctx context.Context, allowed func(snapshot) error) (snapshot, error) {
	s, err := r.readManifest(ctx)
	if _, altered := errors.AsType[*AlteredError](err); err != nil && !altered && !errors.Is(err, ErrNone) {
		return s, err
	}
	return s, allowed(s)
}

// claimed returns ErrReplacing if another Replace has begun.
func (r *Roster) claimed(ctx context.Context, g generation) error {
	got, err := r.cfg.Cluster.Get(ctx, r.claimKey())
	if err == nil && string(valueOf(got.Kvs)) != g.String() {
		err = ErrReplacing
	}
	return err
}

// fill writes the entries of a generation, and their number and digest into m.
func (r *Roster) fill(ctx context.Context, s *sealer, m *manifest, list iter.Seq[Entry]) error {
	seen := map[wire.Identifier]struct{}{}
	var ops []clientv3.Op
	size := 0
	flush := func() error {
		r.step()
		got, err := r.cfg.Cluster.Txn(ctx, []clientv3.Cmp{unchanged(r.claimKey(), []byte(s.generation.String()))}, ops, nil)
		if err == nil && !got.Succeeded {
			err = ErrReplacing
		}
		ops, size = ops[:0], 0
		return err
	}
	for e := range list {
		if _, twice := seen[e.ID]; twice {
			return fmt.Errorf("write client %q: it occurs twice in the list", e.ID.String())
		}
		seen[e.ID] = struct{}{}
		if len(e.Line) == 0 || len(e.Line) > MaxLine {
			return lineError(e.ID, len(e.Line))
		}
		if m.count == math.MaxUint32 {
			return errors.New("write the list of clients: it is too long")
		}
		value := s.seal(e)
		m.count++
		m.digest.add(s.code(e.ID, value))
		ops = append(ops, clientv3.OpPut(r.entryKey(s.generation, e.ID), string(value)))
		if size += len(value); len(ops) == batchSize || size >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return flush()
}
