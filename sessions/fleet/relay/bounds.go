package relay

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"sallyport/sessions"
	"sallyport/sessions/handshakes/limit"
)

// Limits of the packets that a gateway relays.
const (
	// DefaultRate is how many packets a gateway relays in a second, and takes from each
	// other one.
	DefaultRate = 20_000
	MinRate     = 100
	MaxRate     = 1_000_000
	// sourceBuckets is the number of buckets of sources, by a hash with a random seed:
	// sources that share a bucket share its limit.
	sourceBuckets = 1 << 13
)

// sourceLimit is the limit of a source, 250 packets a second and 600 at once: the longest
// messages have 288 packets and more, with one bit each, and a default exchange has 34, of
// which each gateway receives a part.
var sourceLimit = sessions.Limit{Pause: 4 * time.Millisecond, Burst: 600}

// bounds limits what a gateway relays of what strangers send to it.
type bounds struct {
	all     limit.Rate
	sources []sessions.Bucket
	seed    [8]byte
}

func newBounds(rate int, seed [8]byte) bounds {
	return bounds{all: limit.NewRate(float64(rate)), sources: make([]sessions.Bucket, sourceBuckets), seed: seed}
}

// take reports whether a packet of a source may be relayed now. A source that is beyond its
// limit uses up nothing of the limit of all.
func (b *bounds) take(s source, now time.Time) bool {
	var key [24]byte
	copy(key[:], b.seed[:])
	copy(key[8:], s[:])
	return b.sources[xxhash.Sum64(key[:])%sourceBuckets].Take(now, sourceLimit) && b.all.Take(now)
}
