package roster

import (
	"context"
	"errors"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/cluster"
)

// sweep removes all generations except that of a manifest and one more. It does nothing
// further once the manifest or the claim has changed: another editor works.
func (r *Roster) sweep(ctx context.Context, s snapshot, claim generation) error {
	conditions := []clientv3.Cmp{unchanged(r.listKey(), s.value), unchanged(r.claimKey(), []byte(claim.String()))}
	_, err := r.removeExcept(ctx, conditions, s.manifest.generation, claim)
	return err
}

// sweepAll removes all generations except that of the present manifest, after a switch.
// An Edit meanwhile makes it begin again; a Replace does the same by itself.
func (r *Roster) sweepAll(ctx context.Context) error {
	for {
		got, err := r.cfg.Cluster.Txn(ctx, nil, []clientv3.Op{clientv3.OpGet(r.listKey()), clientv3.OpGet(r.claimKey())}, nil)
		if err != nil {
			return err
		}
		value := valueOf(got.Responses[0].GetResponseRange().Kvs)
		claim := valueOf(got.Responses[1].GetResponseRange().Kvs)
		if value == nil || claim != nil {
			return nil
		}
		m, _, err := r.key().openManifest(value)
		if err != nil {
			return err // an attacker must not choose what is removed
		}
		conditions := []clientv3.Cmp{unchanged(r.listKey(), value), unchanged(r.claimKey(), nil)}
		if done, err := r.removeExcept(ctx, conditions, m.generation); done || err != nil {
			return err
		}
	}
}

// abandon removes a generation that no manifest names. It removes the claim first: a
// request to switch that is still on its way fails from then on.
func (r *Roster) abandon(ctx context.Context, g generation) {
	claim := []clientv3.Cmp{unchanged(r.claimKey(), []byte(g.String()))}
	got, err := r.cfg.Cluster.Txn(ctx, claim, []clientv3.Op{clientv3.OpDelete(r.claimKey())}, nil)
	if err == nil && got.Succeeded {
		r.remove(ctx, []clientv3.Cmp{unchanged(r.claimKey(), nil)}, g) // or the next Replace does
	}
}

// removeExcept removes the keys of all generations but some. It reports whether the
// conditions have held until the end.
func (r *Roster) removeExcept(ctx context.Context, conditions []clientv3.Cmp, keep ...generation) (done bool, err error) {
	from := r.cfg.Cluster.Key(root)
	for {
		got, err := r.cfg.Cluster.Get(ctx, from, clientv3.WithRange(r.listKey()), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return false, err
		}
		if len(got.Kvs) == 0 {
			return true, nil
		}
		key := string(got.Kvs[0].Key)
		name, _, _ := strings.Cut(strings.TrimPrefix(key, r.cfg.Cluster.Key(root)), "/")
		g, ok := parseGeneration(name)
		switch {
		case !ok:
			from = key + "\x00" // not ours
		case contains(keep, g):
			from = clientv3.GetPrefixRangeEnd(r.cfg.Cluster.Key(root + name + "/"))
		default:
			if done, err := r.remove(ctx, conditions, g); !done || err != nil {
				return done, err
			}
			from = clientv3.GetPrefixRangeEnd(r.cfg.Cluster.Key(root + name + "/"))
		}
	}
}

func contains(list []generation, g generation) bool {
	for _, x := range list {
		if x == g {
			return true
		}
	}
	return false
}

// errConditions ends remove.
var errConditions = errors.New("the conditions do not hold any longer")

// remove removes the keys of a generation, a page at a time, as long as the conditions
// hold.
func (r *Roster) remove(ctx context.Context, conditions []clientv3.Cmp, g generation) (done bool, err error) {
	name := root + g.String() + "/"
	from := r.cfg.Cluster.Key(name)
	_, err = r.cfg.Cluster.Scan(ctx, name, 0, func(page []cluster.Change) error {
		to := r.cfg.Cluster.Key(name) + page[len(page)-1].Key + "\x00"
		r.step()
		deleted, err := r.cfg.Cluster.Txn(ctx, conditions, []clientv3.Op{clientv3.OpDelete(from, clientv3.WithRange(to))}, nil)
		if err == nil && !deleted.Succeeded {
			err = errConditions
		}
		from = to
		return err
	}, clientv3.WithKeysOnly())
	if errors.Is(err, errConditions) {
		return false, nil
	}
	return err == nil, err
}
