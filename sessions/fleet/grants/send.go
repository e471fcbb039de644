package grants

import (
	"context"
	"net/netip"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	// closingKept is how long a closing key stays: a gateway that was cut off for longer
	// closes at the end of each lease.
	closingKept = time.Hour
	// leaseShared is for how long one lease of etcd serves new keys.
	leaseShared = 10 * time.Second
	// leaseSpare is added to the time of a lease: a key must not disappear before its end
	// by the clock of any gateway.
	leaseSpare = 5 * time.Second
)

// operation is what a key shall be.
type operation struct {
	deletes bool
	attempt sessions.Attempt
	value   value     // without tag and datagrams
	until   time.Time // no use after that
}

// sender has the operations that wait: the newest of each key.
type sender struct {
	mu      sync.Mutex
	pending map[grantKey]operation
	wake    chan struct{}
	leases  [2]etcdLease // of grants, and of closing keys
	mark    mark         // see mark.go; only the goroutine of send uses it
}

// etcdLease is a lease of etcd, under which keys are written that end before a time.
type etcdLease struct {
	id    clientv3.LeaseID
	until time.Time
}

func newSender() sender {
	return sender{pending: map[grantKey]operation{}, wake: make(chan struct{}, 1)}
}

// set replaces the operations of keys.
func (s *sender) set(operations map[grantKey]operation) {
	s.mu.Lock()
	for k, o := range operations {
		s.pending[k] = o
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take removes and returns some operations.
func (s *sender) take() map[grantKey]operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := map[grantKey]operation{}
	for k, o := range s.pending {
		if len(batch) == cluster.MaxOperations {
			break
		}
		batch[k] = o
		delete(s.pending, k)
	}
	return batch
}

// putBack returns operations that failed, unless newer ones have come.
func (s *sender) putBack(batch map[grantKey]operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, o := range batch {
		if _, newer := s.pending[k]; !newer {
			s.pending[k] = o
		}
	}
}

// Open sends grants of this gateway that it has recorded and carried out. It never waits.
func (g *Grants) Open(grants []sessions.Grant) {
	now, tolerance := g.cfg.Wall(), g.cfg.Policy().Tolerance
	operations := map[grantKey]operation{}
	for _, grant := range grants {
		longest := g.cfg.Gate.SharedFor(grant.Identifier)
		if grant.Attempt.Count == 0 || longest == 0 || !travels(grant.Address) {
			continue // of an exchange; or it is for this gateway only
		}
		at := slotOf(grant.Address)
		g.mu.Lock()
		of := secretOf{grant.Identifier, grant.Attempt.Secret}
		g.book.local(of, at, grant.Attempt.Base, grant.Attempt.Timestamp, grant.Address.Unmap(), now.Add(longest+3*tolerance), now)
		g.mu.Unlock()
		if grant.Attempt.Mixed {
			g.count(Mixed)
			continue
		}
		until := now.Add(longest)
		v := value{differ: grant.Differ, address: grant.Address, end: until}
		operations[g.key(grant.Identifier, at)] = operation{attempt: grant.Attempt, value: v, until: until}
	}
	if len(operations) > 0 {
		g.sender.set(operations)
	}
}

// Closed sends what clients have closed at this gateway. It never waits.
func (g *Grants) Closed(all []sessions.Closing) {
	now := g.cfg.Wall()
	operations := map[grantKey]operation{}
	for _, c := range all {
		until := now.Add(closingKept)
		g.mu.Lock()
		g.book.local(secretOf{c.Identifier, c.Attempt.Secret}, closing, c.Attempt.Base, c.Attempt.Timestamp, netip.Addr{}, until, now)
		g.mu.Unlock()
		g.withdraw(operations, c.Identifier, now)
		if c.Attempt.Mixed || c.Attempt.Count == 0 || !travels(c.Address) {
			g.count(Mixed)
			continue
		}
		v := value{closes: true, address: c.Address, end: until}
		operations[g.key(c.Identifier, closing)] = operation{attempt: c.Attempt, value: v, until: until}
	}
	g.sender.set(operations)
}

// Withdraw revokes the grants of clients that this gateway has sent. It never waits.
func (g *Grants) Withdraw(clients ...wire.Identifier) {
	operations := map[grantKey]operation{}
	for _, id := range clients {
		g.withdraw(operations, id, g.cfg.Wall())
	}
	g.sender.set(operations)
}

func (g *Grants) withdraw(operations map[grantKey]operation, id wire.Identifier, now time.Time) {
	for _, at := range []slot{ipv4, ipv6} {
		operations[g.key(id, at)] = operation{deletes: true, until: now.Add(closingKept)}
	}
}

func (g *Grants) key(id wire.Identifier, at slot) grantKey {
	return grantKey{g.cfg.Gateway, id, at}
}

// send carries out the operations until ctx ends.
func (g *Grants) send(ctx context.Context) {
	for {
		batch := g.sender.take()
		if len(batch) == 0 {
			select {
			case <-g.sender.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := g.write(ctx, batch)
		if err == nil {
			continue
		}
		g.sender.putBack(batch)
		if cluster.IsNotFound(err) { // otherwise each try would leave leases in etcd
			g.sender.leases = [2]etcdLease{}
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return
		}
	}
}

// write carries out a batch. It removes operations from it whose time is over. Without an
// error, etcd has the rest.
func (g *Grants) write(ctx context.Context, batch map[grantKey]operation) error {
	now := g.cfg.Wall()
	p := g.cfg.Policy()
	var ops []clientv3.Op
	sent := uint64(0)
	for k, o := range batch {
		key := g.cfg.Cluster.Key(prefix + k.String())
		if o.deletes {
			if o.until.After(now) {
				ops = append(ops, clientv3.OpDelete(key))
			}
			continue
		}
		text, ok := encode(k, o, p.Table, now)
		if !ok && p.Split {
			text, ok = encode(k, o, p.Secrets, now)
		}
		if !ok || !o.until.After(now) {
			g.count(Unsent)
			delete(batch, k)
			continue
		}
		lease, err := g.lease(ctx, k.slot == closing, o.until, now)
		if err != nil {
			return err
		}
		ops = append(ops, clientv3.OpPut(key, string(text), clientv3.WithLease(lease)))
		sent++
	}
	if len(ops) == 0 {
		return nil
	}
	if err := g.commit(ctx, ops); err != nil {
		return err
	}
	g.counts[Sent].Add(sent)
	return nil
}

// encode returns the value of an operation, with the datagrams that the client sent.
func encode(k grantKey, o operation, t *verify.KeyTable, now time.Time) ([]byte, bool) {
	v, a := o.value, o.attempt
	var ok bool
	v.datagrams, ok = t.AppendAttempt(nil, k.client, a.Secret, a.Base, a.Timestamp, int(a.Count), v.closes, now.Unix())
	if !ok {
		return nil, false
	}
	if v.tag, ok = t.Tag(k.client, a.Secret, v.tagged(k.gateway), now.Unix()); !ok {
		return nil, false
	}
	return v.appendBinary(nil), true
}

// lease returns a lease of etcd that lasts beyond a time, at all gateways' clocks.
func (g *Grants) lease(ctx context.Context, closes bool, until, now time.Time) (clientv3.LeaseID, error) {
	l := &g.sender.leases[0]
	if closes {
		l = &g.sender.leases[1]
	}
	if l.id != 0 && !l.until.Before(until) {
		return l.id, nil
	}
	lasts := until.Sub(now) + leaseShared
	id, err := g.cfg.Cluster.Lease(ctx, lasts+2*g.cfg.Policy().Tolerance+leaseSpare)
	if err != nil {
		return 0, err
	}
	*l = etcdLease{id, now.Add(lasts)}
	return id, nil
}
