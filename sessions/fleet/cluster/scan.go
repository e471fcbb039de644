package cluster

import (
	"context"
	"encoding/binary"
	"math"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageSize is how many keys an answer of a snapshot has.
const pageSize = 1000

// Scan reads the keys with a prefix (after the one of the Cluster) in ascending order, by
// pages, all at one revision: 0 is the newest. It returns that revision. An error of page
// ends it. Other errors are UnavailableError.
//
// etcd counts all keys of a range, however few it returns, and 3.4 collects them: a million
// keys in pages of a thousand cost half a billion steps. So the range of each page after
// the first one ends where about two pages are expected to end.
func (c *Cluster) Scan(ctx context.Context, prefix string, revision int64, page func([]Change) error, options ...clientv3.OpOption) (int64, error) {
	prefix = c.Key(prefix)
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	width := uint64(math.MaxUint64) // of the range of a page
	for limit := int64(pageSize); ; {
		upper, start := end, ordinal(from[len(prefix):])
		if width < math.MaxUint64-start {
			upper = string(binary.BigEndian.AppendUint64([]byte(prefix), start+width))
		}
		request := append([]clientv3.OpOption{clientv3.WithRange(upper), clientv3.WithLimit(limit)}, options...)
		if revision > 0 {
			request = append(request, clientv3.WithRev(revision))
		}
		got, err := c.Get(ctx, from, request...)
		if TooLarge(err) && limit > 1 {
			limit = max(limit/8, 1)
			continue
		}
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = got.Header.Revision
		}
		changes := make([]Change, 0, len(got.Kvs))
		for _, kv := range got.Kvs {
			changes = append(changes, Change{strings.TrimPrefix(string(kv.Key), prefix), kv.Value, false, kv.ModRevision, kv.Lease})
		}
		if len(changes) > 0 {
			if err := page(changes); err != nil {
				return 0, err
			}
		}
		switch n := len(changes); {
		case n > 0 && got.More:
			last := changes[n-1].Key
			from = prefix + last + "\x00"
			width = max(1, times(ordinal(last)-start, 2))
		case upper == end:
			return revision, nil
		default:
			from = upper
			if int64(n) < limit/2 {
				width = times(width, 16)
			}
		}
	}
}

// ordinal is the place of a key among all, as far as its first eight bytes show it.
func ordinal(key string) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// times multiplies, up to the maximum.
func times(n, by uint64) uint64 {
	if n > math.MaxUint64/by {
		return math.MaxUint64
	}
	return n * by
}
