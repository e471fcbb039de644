package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/wire"
)

// maxRequests is how many requests are sent at once.
const maxRequests = 4

// nonces is where the keys of clients are, after the prefix.
const nonces = "nonces/"

func (j *Journal) key(id wire.Identifier) string { return j.cluster.Key(nonces + string(id[:])) }

// send writes the next values of clients, each if its key is still as it is known: then
// the client is done. Otherwise it gets what the key has now, or an error.
func (j *Journal) send(ctx context.Context, list []*pending) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxRequests)
	for chunk := range slices.Chunk(list, cluster.MaxOperations) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			j.sendPart(ctx, chunk)
		})
	}
	wg.Wait()
}

// sendPart is sendChunk. Its error is that of each client.
func (j *Journal) sendPart(ctx context.Context, list []*pending) {
	if err := j.sendChunk(ctx, list); err != nil {
		for _, p := range list {
			p.err = err
		}
	}
}

// sendChunk sends one request: a transaction for each client, so that the conflict of one
// fails no other.
func (j *Journal) sendChunk(ctx context.Context, list []*pending) error {
	ops := make([]clientv3.Op, len(list))
	for i, p := range list {
		key := j.key(p.id)
		ops[i] = clientv3.OpTxn(
			[]clientv3.Cmp{p.known.unchanged(key)},
			[]clientv3.Op{clientv3.OpPut(key, string(p.next.append(nil)))},
			[]clientv3.Op{clientv3.OpGet(key)},
		)
	}
	gaps := j.cluster.Gaps()
	resp, err := j.cluster.Txn(ctx, nil, ops, nil)
	if cluster.TooLarge(err) && len(list) > 1 {
		// Of the clients that are written by now, the parts find their own tags.
		half := len(list) / 2
		j.sendPart(ctx, list[:half])
		j.sendPart(ctx, list[half:])
		return nil
	}
	if err != nil {
		return err
	}
	for i, p := range list {
		one := resp.Responses[i].GetResponseTxn()
		if one.Succeeded {
			p.written(j, resp.Header.Revision)
			continue
		}
		var found []byte
		var revision int64
		if kvs := one.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			found, revision = kvs[0].Value, kvs[0].ModRevision
		}
		p.conflict(j, found, revision, j.cluster.Gaps() == gaps)
	}
	return nil
}

// unchanged is the comparison of a key with what is known of it. The revision would not
// do: another history of etcd can reach the same number with other nonces.
func (k *known) unchanged(key string) clientv3.Cmp {
	if k.revision == 0 {
		return clientv3.Compare(clientv3.ModRevision(key), "=", 0)
	}
	return clientv3.Compare(clientv3.Value(key), "=", string(k.append(nil)))
}

func (p *pending) written(j *Journal, revision int64) {
	p.done, p.known = true, known{p.next, revision}
	if j.registered(p.id) {
		j.view.set(p.id, p.known)
	}
}

// errUnreadable is the error of a client whose record this release cannot read.
var errUnreadable = errors.New("the record of the client is unreadable")

// conflict takes the value that the key has instead. With a value of an earlier revision
// than the known one, or without a value, the record went back: same is false if the
// Cluster has reported that.
func (p *pending) conflict(j *Journal, found []byte, revision int64, same bool) {
	if revision < p.known.revision && same {
		j.gap("the record of a client went back", j.cluster.Position())
	}
	if revision == 0 {
		p.known = known{}
		return
	}
	v, err := parse(found)
	if err != nil {
		j.logUnreadable(p.id, err)
		p.err = errUnreadable
		return
	}
	if v.tag == p.next.tag { // the answer to an earlier copy of the request was lost
		p.written(j, revision)
		return
	}
	p.known = known{v, revision}
	if j.registered(p.id) && !j.view.set(p.id, p.known) {
		j.gap("the record of a client lost nonces", j.cluster.Position())
	}
}
