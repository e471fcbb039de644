package relay

import (
	"net/netip"
	"time"

	"github.com/cespare/xxhash/v2"

	"sallyport/sessions"
	"sallyport/sessions/handshakes/limit"
)

// source stands for a source: see sourceOf.
type source [16]byte

// valid reports whether it is the form of a source that may be relayed.
func (s source) valid() bool {
	a := netip.AddrFrom16(s).Unmap()
	return relayable(a) && sourceOf(a) == s
}

const (
	// The reserve keeps 4096 sources, in sets by a hash with a random seed.
	reserveSets = 1 << 10
	reserveWays = 4
	// reserveDivisor: the reserve has a quarter of the packets a second, in addition to them,
	// for all sources together.
	reserveDivisor = 4
	// announcePause is the least time between two announcements of one source.
	announcePause = time.Minute
	// maxKnown is how many sources a datagram announces at most.
	maxKnown = 32
)

// reserve has the sources from which an exchange was verified, here or at another gateway:
// while packets of strangers use up the limits, theirs are still relayed. Of a full set, the
// source gives way whose exchange is longest ago.
type reserve struct {
	seed    [8]byte
	all     limit.Rate
	sources []knownSource
}

type knownSource struct {
	source    source // zeros: none
	at        time.Time
	announced time.Time
	bucket    sessions.Bucket
}

func newReserve(rate int, seed [8]byte) reserve {
	return reserve{seed: seed, all: limit.NewRate(float64(rate) / reserveDivisor), sources: make([]knownSource, reserveSets*reserveWays)}
}

func (r *reserve) set(s source) []knownSource {
	var key [24]byte
	copy(key[:], r.seed[:])
	copy(key[8:], s[:])
	i := int(xxhash.Sum64(key[:])%reserveSets) * reserveWays
	return r.sources[i : i+reserveWays]
}

// add records that an exchange of a source was verified now.
func (r *reserve) add(s source, now time.Time) *knownSource {
	set := r.set(s)
	oldest := &set[0]
	for i := range set {
		k := &set[i]
		if k.source == s {
			k.at = now
			return k
		}
		if k.at.Before(oldest.at) {
			oldest = k
		}
	}
	*oldest = knownSource{source: s, at: now}
	return oldest
}

// take reports whether the reserve has one more packet for a source. A host that forges an
// address uses up the share of that source only.
func (r *reserve) take(s source, now time.Time) bool {
	k := r.find(s)
	return k != nil && k.bucket.Take(now, sourceLimit) && r.all.Take(now)
}

// find returns a source; nil: it is not known.
func (r *reserve) find(s source) *knownSource {
	set := r.set(s)
	for i := range set {
		if k := &set[i]; k.source == s && !k.at.IsZero() {
			return k
		}
	}
	return nil
}

// know records that an exchange of an address was verified here, and announces that to the
// other gateways, each of which may get its packets.
func (n *node) know(a netip.Addr, now time.Time) {
	if !relayable(a) {
		return
	}
	s := sourceOf(a)
	k := n.reserve.add(s, now)
	if !k.announced.IsZero() && now.Sub(k.announced) < announcePause {
		return
	}
	k.announced = now
	for i := range n.peers {
		p := &n.peers[i]
		if i == n.own {
			continue
		}
		if len(p.announce) == maxKnown || len(p.packets)+knownSize*(len(p.announce)+1) > n.room {
			n.send(i)
		}
		p.announce = append(p.announce, s)
	}
}

// appendKnown appends the sources of a body.
func appendKnown(b []byte, all []source) []byte {
	for _, s := range all {
		b = append(append(b, bitKnown), s[:]...)
	}
	return b
}

// parseKnown parses the sources at the beginning of b, and returns the rest.
func parseKnown(b []byte) (all []source, rest []byte, err error) {
	for len(b) > 0 && b[0] == bitKnown {
		if len(b) < knownSize {
			return nil, nil, errBody
		}
		s := source(b[1:knownSize])
		if !s.valid() || len(all) == maxKnown {
			return nil, nil, errBody
		}
		all, b = append(all, s), b[knownSize:]
	}
	return all, b, nil
}

const knownSize = 1 + len(source{})
