package split

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	// slots is where the keys of clients are, after the prefix of the fleet.
	slots = "slots/"
	// maxTries is how often a part is sent, at most, because others have changed the key.
	maxTries = 8
	// leaseShared is for how long one lease of etcd serves new values.
	leaseShared = 10 * time.Second
	// leaseSpare is added to the time of a lease, since etcd ends none early.
	leaseSpare = 5 * time.Second
)

// own is a part of this gateway.
type own struct {
	name
	part
	knock verify.Knock // one of its knocks
}

// write is what one request does for a client.
type write struct {
	client wire.Identifier
	parts  []own // not yet published
	found  []byte
	// revision is that of the key with the value found; 0: the key does not exist.
	revision int64
	next     value
}

// batches returns the parts that are due, by requests.
func (s *Split) batches(due map[wire.Identifier][]*pending) (batches [][]*write) {
	var batch []*write
	for id, list := range due {
		if w := s.newWrite(id, list); len(w.parts) > 0 {
			batch = append(batch, w)
		}
		if len(batch) == cluster.MaxOperations {
			batches, batch = append(batches, batch), nil
		}
	}
	if len(batch) > 0 {
		batches = append(batches, batch)
	}
	return batches
}

func (s *Split) newWrite(id wire.Identifier, list []*pending) *write {
	w := &write{client: id}
	p, now := s.cfg.Policy(), s.cfg.Wall().Unix()
	for _, x := range list {
		k := x.knock
		secret, ok := p.Secrets.SecretOfKey(s.cfg.Gateway, id, k.Secret(), now)
		if !ok {
			s.count(Ended, 1)
			continue
		}
		w.parts = append(w.parts, own{
			name{secret, k.Base(), k.Timestamp(), uint8(k.Maximum()) + 1},
			part{gateway: s.cfg.Gateway, knocks: x.knocks, differ: x.differ, address: x.address}, k,
		})
	}
	return w
}

// publish sends a batch, again for those whose key others have changed.
func (s *Split) publish(ctx context.Context, batch []*write) {
	for range maxTries {
		batch = s.prepare(batch)
		if len(batch) == 0 {
			return
		}
		var err error
		batch, err = s.send(ctx, batch)
		if cluster.TooLarge(err) && len(batch) > 1 {
			// One client has a value that no gateway has written. The others are written by
			// now: they find their parts.
			half := len(batch) / 2
			s.publish(ctx, batch[:half])
			s.publish(ctx, batch[half:])
			return
		}
		if err != nil {
			break // the cluster has logged it
		}
	}
	for _, w := range batch {
		s.count(Unavailable, uint64(len(w.parts)))
	}
}

// prepare adds the parts to what the keys of their clients have. It completes the attempts
// that have all knocks, without a write, and returns those that require one.
func (s *Split) prepare(batch []*write) (rest []*write) {
	p, now := s.cfg.Policy(), s.cfg.Wall()
	for _, w := range batch {
		var parts []own
		v := s.verified(p, w, now)
		changed := false
		for _, x := range w.parts {
			next, adds, held := v.with(x.name, x.part)
			if !held {
				s.count(Crowded, 1)
				continue
			}
			if from, ok := next.complete(x.name, s.cfg.Gateway); ok {
				s.count(Completed, 1)
				s.complete(completed(p, x, from, now))
				continue
			}
			if !adds { // an answer was lost, or an earlier part has it
				s.count(Published, 1)
				continue
			}
			v, changed, parts = next, true, append(parts, x)
		}
		if w.parts = parts; !changed {
			continue
		}
		if w.next = v; !s.sign(p, w, now) {
			s.count(Ended, uint64(len(parts)))
			continue
		}
		rest = append(rest, w)
	}
	return rest
}

// completed is an attempt that this gateway completes.
func completed(p Policy, x own, from source, now time.Time) sessions.Completed {
	return sessions.Completed{
		Knock: x.knock, Address: from.address, Differ: from.differ, Other: from.other,
		ISN:     p.Secrets.ISN(x.knock.Identifier(), x.secret, x.base, now.Unix()),
		Attempt: sessions.Attempt{Secret: x.secret, Base: x.base, Timestamp: x.timestamp, Count: x.n},
	}
}

// sign makes the tags of this gateway's parts that have none.
func (s *Split) sign(p Policy, w *write, now time.Time) bool {
	for i := range w.next.attempts {
		a := &w.next.attempts[i]
		for j := range a.parts {
			x := &a.parts[j]
			if x.gateway != s.cfg.Gateway || x.tag != [len(x.tag)]byte{} {
				continue
			}
			var ok bool
			if x.tag, ok = p.Secrets.PartTag(w.client, a.secret, x.tagged(a.name), now.Unix()); !ok {
				return false
			}
		}
	}
	return true
}

// verified returns what the key of a client has, without the parts that are not authentic,
// and without attempts whose time is over.
func (s *Split) verified(p Policy, w *write, now time.Time) (v value) {
	if w.revision == 0 {
		return v
	}
	found, err := parse(w.found)
	if err != nil {
		s.count(Malformed, 1)
		s.malformed.Do(func() {
			s.cfg.Log.Error("parts of attempts in etcd are unreadable; replacing them", "client", w.client, "error", err)
		})
		return v
	}
	v, forged := found.verified(p, w.client, s.known, now)
	s.count(Forged, uint64(forged))
	return v
}

// verified returns the parts of a value that gateways with the secrets have written, and how
// many others there are.
func (v value) verified(p Policy, id wire.Identifier, gateways map[string]bool, now time.Time) (next value, forged int) {
	for _, a := range v.attempts {
		age := now.Unix() - int64(a.timestamp)
		// Two gateways and the client may each have another clock.
		if limit := 2 * int64(p.Tolerance/time.Second); int(a.n) != p.Ports || age > limit || age < -limit {
			continue
		}
		kept := attempt{name: a.name}
		for _, x := range a.parts {
			if gateways[x.gateway] && p.Secrets.PartTagged(id, a.secret, x.tagged(a.name), x.tag[:], now.Unix()) {
				kept.parts = append(kept.parts, x)
			} else {
				forged++
			}
		}
		if len(kept.parts) > 0 {
			next.attempts = append(next.attempts, kept)
		}
	}
	return next, forged
}

// send sends one request: a transaction for each client. It returns those whose key has
// changed since it was read. To compare revisions is enough: if etcd went back, a part may be
// lost, but the record alone decides that an attempt opens.
func (s *Split) send(ctx context.Context, batch []*write) (rest []*write, err error) {
	p := s.cfg.Policy()
	id, err := s.lease.get(ctx, s.cfg.Cluster, 4*p.Tolerance, s.cfg.Now())
	if err != nil {
		return batch, err
	}
	ops := make([]clientv3.Op, len(batch))
	for i, w := range batch {
		key := s.cfg.Cluster.Key(slots + string(w.client[:]))
		ops[i] = clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", w.revision)},
			[]clientv3.Op{clientv3.OpPut(key, string(w.next.append(nil)), clientv3.WithLease(id))},
			[]clientv3.Op{clientv3.OpGet(key)})
	}
	resp, err := s.cfg.Cluster.Txn(ctx, nil, ops, nil)
	if cluster.IsNotFound(err) {
		s.lease.forget(id) // it has ended
		return batch, nil
	}
	if err != nil {
		return batch, err
	}
	for i, w := range batch {
		one := resp.Responses[i].GetResponseTxn()
		if one.Succeeded {
			s.count(Published, uint64(len(w.parts)))
			continue
		}
		w.revision, w.found = 0, nil
		if kvs := one.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			w.revision, w.found = kvs[0].ModRevision, kvs[0].Value
		}
		rest = append(rest, w)
	}
	return rest, nil
}

// lease is the lease of etcd under which values are written: it removes them when the time
// of their attempts is over. No rule depends on its time.
type lease struct {
	mu    sync.Mutex
	id    clientv3.LeaseID // 0: none
	until time.Time        // no new values from then on
}

// get returns a lease that lasts at least for a time.
func (l *lease) get(ctx context.Context, c *cluster.Cluster, lasts time.Duration, now time.Time) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id != 0 && now.Before(l.until) {
		return l.id, nil
	}
	id, err := c.Lease(ctx, lasts+leaseShared+leaseSpare)
	if err != nil {
		return 0, err
	}
	l.id, l.until = id, now.Add(leaseShared)
	return id, nil
}

// forget makes the next value get another lease.
func (l *lease) forget(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == id {
		l.id = 0
	}
}
