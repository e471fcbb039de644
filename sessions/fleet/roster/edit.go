package roster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/verify/wire"
)

// conflictPause is the longest time before another try of an Edit that lost against
// another editor.
const conflictPause = 20 * time.Millisecond

// Edit changes entries of at most MaxChanges clients in one transaction: all, or none.
// change gets the present lines of those clients that exist, and returns only changes of
// clients in ids. It is called again if another editor was faster. Its error ends Edit,
// and is returned as it is. No change is no version.
//
// An error of etcd (cluster.UnavailableError) may leave the change made. Others are those
// of Load.
func (r *Roster) Edit(ctx context.Context, ids []wire.Identifier, change func(current map[wire.Identifier][]byte) ([]Change, error)) error {
	if len(ids) > MaxChanges {
		return fmt.Errorf("change %d clients at once: at most %d are allowed", len(ids), MaxChanges)
	}
	for {
		done, err := r.edit(ctx, ids, change)
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(rand.N(conflictPause)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// edit is one try.
func (r *Roster) edit(ctx context.Context, ids []wire.Identifier, change func(map[wire.Identifier][]byte) ([]Change, error)) (done bool, err error) {
	s, err := r.readManifest(ctx)
	if err != nil {
		return false, err
	}
	if _, err := r.floor.check(s.manifest); err != nil {
		return false, err
	}
	values, current, err := r.entries(ctx, s, ids)
	if err != nil || values == nil {
		return false, err
	}
	changes, err := change(current)
	if err != nil {
		return false, err
	}
	next := s.manifest.next(s.manifest.version()+1, r.cfg.Now())
	var ops []clientv3.Op
	seen := map[wire.Identifier]bool{}
	for _, c := range changes {
		old := values[c.ID]
		switch {
		case !slices.Contains(ids, c.ID) || seen[c.ID]:
			return false, fmt.Errorf("change client %q: expected each client once, and only those that were named", c.ID.String())
		case c.Line == nil && old == nil, old != nil && c.Line != nil && bytes.Equal(c.Line, current[c.ID]):
			continue // nothing changes
		case c.Line != nil && (len(c.Line) == 0 || len(c.Line) > MaxLine):
			return false, lineError(c.ID, len(c.Line))
		}
		seen[c.ID] = true
		if old != nil {
			next.count--
			next.digest.subtract(s.sealer.code(c.ID, old))
		}
		key := r.entryKey(next.generation, c.ID)
		if c.Line == nil {
			ops = append(ops, clientv3.OpDelete(key))
			continue
		}
		value := s.sealer.seal(Entry(c))
		next.count++
		next.digest.add(s.sealer.code(c.ID, value))
		ops = append(ops, clientv3.OpPut(key, string(value)))
	}
	if len(ops) == 0 {
		return true, nil
	}
	return r.write(ctx, s.value, next, s.sealer, nil, ops)
}

// entries reads the entries of clients, if the manifest is still the same; otherwise
// values is nil.
func (r *Roster) entries(ctx context.Context, s snapshot, ids []wire.Identifier) (values, lines map[wire.Identifier][]byte, err error) {
	values, lines = map[wire.Identifier][]byte{}, map[wire.Identifier][]byte{}
	if len(ids) == 0 {
		return values, lines, nil
	}
	var gets []clientv3.Op
	for _, id := range ids {
		gets = append(gets, clientv3.OpGet(r.entryKey(s.manifest.generation, id)))
	}
	got, err := r.cfg.Cluster.Txn(ctx, []clientv3.Cmp{unchanged(r.listKey(), s.value)}, gets, nil)
	if err != nil || !got.Succeeded {
		return nil, nil, err
	}
	for i, id := range ids {
		value := valueOf(got.Responses[i].GetResponseRange().Kvs)
		if value == nil {
			continue
		}
		line, err := s.sealer.open(nil, id, value)
		if err != nil {
			return nil, nil, &AlteredError{fmt.Sprintf("the entry of client %q does not open", id.String())}
		}
		values[id], lines[id] = value, line
	}
	return values, lines, nil
}

// write writes a manifest and other keys, if the manifest is still the old one and other
// comparisons hold. The request may be sent twice: a manifest that has the mark of this
// one shows that its first copy was applied, also if other editors have gone on since.
func (r *Roster) write(ctx context.Context, old []byte, m manifest, s *sealer, if_ []clientv3.Cmp, ops []clientv3.Op) (done bool, err error) {
	r.step()
	key := r.listKey()
	if_ = append(if_, unchanged(key, old))
	ops = append(ops, clientv3.OpPut(key, string(s.sealManifest(m)))) // the last one: see Follow
	got, err := r.cfg.Cluster.Txn(ctx, if_, ops, []clientv3.Op{clientv3.OpGet(key)})
	if err != nil || got.Succeeded {
		return err == nil, err
	}
	now := valueOf(got.Responses[0].GetResponseRange().Kvs)
	if now == nil || bytes.Equal(now, old) {
		return false, nil
	}
	found, _, err := r.key().openManifest(now)
	if err != nil {
		return false, err
	}
	return found.follows(m.history[0]), nil
}

func lineError(id wire.Identifier, size int) error {
	return fmt.Errorf("write client %q: expected a line of 1 to %d bytes, it has %d", id.String(), MaxLine, size)
}
