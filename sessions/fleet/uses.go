package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
)

const (
	// uses is where the counts of operations with a limit are, after the prefix.
	uses     = "uses/"
	usesSize = 1 + 8 + 4
)

func (j *Journal) usesKey(operation string, secret verify.Fingerprint) string {
	return j.cluster.Key(fmt.Sprintf("%s%s/%016x", uses, operation, uint64(secret)))
}

func encodeUses(tag uint64, used uint32) string {
	b := binary.BigEndian.AppendUint64([]byte{version}, tag)
	return string(binary.BigEndian.AppendUint32(b, used))
}

func parseUses(b []byte) (tag uint64, used uint32, err error) {
	if len(b) > 0 && b[0] > version {
		return 0, 0, fmt.Errorf("read the count of an operation: %w", cluster.CheckVersion(int(b[0]), version))
	}
	if len(b) != usesSize || b[0] != version {
		return 0, 0, errors.New("the count of an operation is unreadable")
	}
	return binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint32(b[9:]), nil
}

// TakeUses counts up to wanted uses of an operation in the fleet, which may be used so
// often (limit). It returns how many it has counted, and how many there are now. Without a
// count in the fleet, local is the count before. After an error, the uses may be counted,
// and must not be given.
func (j *Journal) TakeUses(operation string, secret verify.Fingerprint, local, limit, wanted uint32) (taken, used uint32, err error) {
	err = j.changeUses(operation, secret, local, func(before uint32) (uint32, bool) {
		taken = min(wanted, limit-min(before, limit))
		used = before + taken
		return used, taken > 0
	})
	if err != nil {
		return 0, 0, err
	}
	return taken, used, nil
}

// ResetUses counts an operation from zero.
func (j *Journal) ResetUses(operation string, secret verify.Fingerprint) error {
	return j.changeUses(operation, secret, 0, func(uint32) (uint32, bool) { return 0, true })
}

// changeUses replaces a count, unless change returns false.
func (j *Journal) changeUses(operation string, secret verify.Fingerprint, local uint32, change func(uint32) (uint32, bool)) error {
	ctx, cancel := context.WithTimeout(context.Background(), j.cluster.Timeout())
	defer cancel()
	gaps := j.position.gaps.Load()
	key := j.usesKey(operation, secret)
	got, err := j.cluster.Get(ctx, key)
	if err != nil {
		j.unavailable.Add(1)
		return err
	}
	kvs := got.Kvs
	for tag := uint64(0); ; {
		used, revision := local, int64(0)
		if len(kvs) > 0 {
			var found uint64
			if found, used, err = parseUses(kvs[0].Value); err != nil {
				return err
			}
			if revision = kvs[0].ModRevision; tag != 0 && found == tag {
				break // an earlier copy of the request was applied
			}
		}
		next, changed := change(used)
		if !changed {
			break
		}
		tag = rand.Uint64() | 1
		resp, err := j.cluster.Txn(ctx,
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", revision)},
			[]clientv3.Op{clientv3.OpPut(key, encodeUses(tag, next))}, []clientv3.Op{clientv3.OpGet(key)})
		if err != nil {
			j.unavailable.Add(1)
			return err
		}
		if resp.Succeeded {
			break
		}
		kvs = resp.Responses[0].GetResponseRange().Kvs
	}
	if j.position.gaps.Load() != gaps {
		return errGap
	}
	return nil
}
