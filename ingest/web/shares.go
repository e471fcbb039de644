package web

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	shareCells = 4096
	// shareBurst is in how much time the requests that come at once are permitted. It is
	// that of a table's rate of challenges, so that the sources of a flood do not use that
	// up when they begin.
	shareBurst = time.Second / 10
)

// shares limits the rate of each source: an IPv4 address, or a /64. It has a fixed size.
// Two cells, chosen by a hash with a random seed, belong to a source, which may take from
// either: so sources that flood block another one only if both of its cells are theirs.
// It is safe for concurrent use.
type shares struct {
	pause time.Duration
	seed  maphash.Seed
	cells [shareCells]atomic.Int64 // as budget.full
}

func newShares(perSecond int) *shares {
	return &shares{pause: time.Second / time.Duration(perSecond), seed: maphash.MakeSeed()}
}

// take reports whether the source of an address may have one more, and counts it.
func (s *shares) take(source netip.Addr, now time.Time) bool {
	if source.Is6() {
		b := source.As16()
		clear(b[8:])
		source = netip.AddrFrom16(b)
	}
	h := maphash.Comparable(s.seed, source)
	a, b := &s.cells[h%shareCells], &s.cells[h>>32%shareCells]
	if b.Load() < a.Load() {
		a, b = b, a
	}
	return takeFrom(a, s.pause, shareBurst, now) || takeFrom(b, s.pause, shareBurst, now)
}
