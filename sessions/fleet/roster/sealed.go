package roster

import (
	"context"
	"encoding/hex"
)

// KeyID returns the ID, as of Key.IDs, of the key that the list in etcd is sealed with. It
// requires no key, so that it is only what etcd has: the list may be altered.
func (r *Roster) KeyID(ctx context.Context) (string, error) {
	got, err := r.cfg.Cluster.Get(ctx, r.listKey())
	if err != nil {
		return "", err
	}
	value := valueOf(got.Kvs)
	if value == nil {
		return "", ErrNone
	}
	h, err := parseHeader(value)
	if err != nil {
		return "", &AlteredError{err.Error()}
	}
	return hex.EncodeToString(h.key[:]), nil
}
