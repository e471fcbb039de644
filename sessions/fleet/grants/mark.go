package grants

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A request may be sent to several members of etcd, and a path may hold a copy for any
// time. A copy of a grant that arrives after its revocation would open at a gateway that
// starts then. So each transaction of a gateway replaces its mark, the key GATEWAY/last,
// and requires the mark of the one before. Copies of earlier ones do nothing, without a
// further round trip.

// markName is the last part of the key. It is too short for the key of a client.
const markName = "last"

// isMark reports whether a name after the prefix is that of a mark.
func isMark(name string) bool {
	_, rest, _ := strings.Cut(name, "/")
	return rest == markName
}

// mark is what the key has.
type mark struct {
	text     string // of markSize bytes, unless another program has written it
	revision int64  // 0: there is no key
}

const markSize = 16

// transaction is what one request to etcd does.
type transaction struct {
	conditions         []clientv3.Cmp
	operations, others []clientv3.Op // if the conditions hold, and if not
	mark               string        // the text of the new one
}

// after returns a transaction that requires a mark. The revision alone would not do: another
// history of etcd can reach it. Only a mark of another size, which may be large, is compared by
// it.
func after(key string, before mark, operations []clientv3.Op) transaction {
	is := clientv3.Compare(clientv3.ModRevision(key), "=", before.revision)
	if len(before.text) == markSize {
		is = clientv3.Compare(clientv3.Value(key), "=", before.text)
	}
	next := fmt.Sprintf("%0*x", markSize, rand.Uint64())
	return transaction{
		conditions: []clientv3.Cmp{is}, operations: append(slices.Clip(operations), clientv3.OpPut(key, next)),
		others: []clientv3.Op{clientv3.OpGet(key)}, mark: next,
	}
}

// maxMarks is the maximum number of requests of one commit: a user of etcd with the same
// rights can write the mark all the time.
const maxMarks = 3

var errMarked = errors.New("another process writes the grants of this gateway all the time")

// commit carries out operations once, after all earlier ones of this gateway.
func (g *Grants) commit(ctx context.Context, operations []clientv3.Op) error {
	key := g.cfg.Cluster.Key(prefix + g.cfg.Gateway + "/" + markName)
	for range maxMarks {
		t := after(key, g.sender.mark, operations)
		resp, err := g.cfg.Cluster.Txn(ctx, t.conditions, t.operations, t.others)
		if err != nil {
			return err
		}
		if resp.Succeeded {
			g.sender.mark = mark{t.mark, resp.Header.Revision}
			return nil
		}
		g.sender.mark = mark{}
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			g.sender.mark = mark{string(kvs[0].Value), kvs[0].ModRevision}
		}
		if g.sender.mark.text == t.mark { // the answer to an earlier copy was lost
			return nil
		}
	}
	return errMarked
}
