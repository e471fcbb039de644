package fleet

import (
	"context"
	"fmt"
	"math"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// Known reports whether this gateway has seen that each nonce of an attempt is recorded. It
// never waits.
func (j *Journal) Known(id wire.Identifier, secret verify.Fingerprint, base uint32, count int) bool {
	known := j.view.get(id)
	return known.used(secret, base, count)
}

// Recorded reports whether the record that etcd has contains each nonce of an attempt. It
// asks etcd only if the view does not show it. An unreadable record contains none. An error
// means that etcd did not answer.
func (j *Journal) Recorded(ctx context.Context, id wire.Identifier, secret verify.Fingerprint, base uint32, count int) (bool, error) {
	if j.Known(id, secret, base, count) {
		return true, nil
	}
	resp, err := j.cluster.Get(ctx, j.key(id))
	if err != nil {
		return false, fmt.Errorf("read the record of the fleet: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return false, nil
	}
	v, err := parse(resp.Kvs[0].Value)
	if err != nil {
		j.logUnreadable(id, err)
		return false, nil
	}
	return v.used(secret, base, count), nil
}

// used reports whether each nonce of an attempt is used.
func (v *value) used(secret verify.Fingerprint, base uint32, count int) bool {
	r := v.find(secret)
	if r == nil || uint64(base)+uint64(count)-1 > math.MaxUint32 {
		return false
	}
	w := r.window()
	for i := range uint32(count) {
		if w.Unused(base + i) {
			return false
		}
	}
	return true
}
