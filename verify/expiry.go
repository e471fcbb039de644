package verify

import (
	"iter"
	"math"
	"slices"
	"time"

	"sallyport/verify/wire"
)

// expiryOf returns a time as a row has it: in Unix seconds, at least 1. No timestamp of
// a knock is later than the highest one, so a client that expires later never does.
func expiryOf(t time.Time) uint32 {
	if t.IsZero() || t.Unix() > math.MaxUint32 {
		return 0
	}
	return uint32(max(t.Unix(), 1))
}

// expired reports whether a client has expired at now, in Unix seconds.
func (r *row) expired(now int64) bool { return r.expires != 0 && now >= int64(r.expires) }

// ExpiresAt returns when a client expires, and false if it does not, or there is none.
func (t *KeyTable) ExpiresAt(id wire.Identifier) (at time.Time, ok bool) {
	i, found := t.index[id]
	if !found || t.rows[i].expires == 0 {
		return at, false
	}
	return time.Unix(int64(t.rows[i].expires), 0), true
}

// Expired returns how many clients have expired at now. As long as it returns the same
// number, these are the same clients.
func (t *KeyTable) Expired(now time.Time) int {
	n, _ := slices.BinarySearchFunc(t.expiries, now.Unix(), func(at uint32, now int64) int {
		if int64(at) <= now {
			return -1
		}
		return 1
	})
	return n
}

// Unexpired returns the identifiers of the clients that have not expired at now, in no
// order.
func (t *KeyTable) Unexpired(now time.Time) iter.Seq[wire.Identifier] {
	return func(yield func(wire.Identifier) bool) {
		for id, i := range t.index {
			if !t.rows[i].expired(now.Unix()) && !yield(id) {
				return
			}
		}
	}
}
