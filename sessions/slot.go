package sessions

import (
	"math"
	"net/netip"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
)

// slot holds the newest attempt of a client: which of its n knocks have been
// recorded. An attempt is a minute, a base nonce and a source address. The
// zero value holds none.
type slot struct {
	minute schedule.Minute
	source netip.Addr // zero: no attempt yet
	base   uint32
	last   uint8 // n-1
	count  uint8
	seen   [2]uint64 // a bit a sequence ID
}

// record adds a fresh knock to the attempt that it belongs to. It answers
// Opened for the knock that makes an attempt complete, once an attempt. The
// attempt that gives way to a newer one takes all its nonces with it: they are
// used in the client's window. A knock whose base lies among the nonces of the
// slot's attempt belongs to no attempt of an honest client, and never to this.
func (s *slot) record(k verify.Knock, source netip.Addr, w *replay.Window) Outcome {
	base := k.Base()
	switch {
	case !s.source.IsValid() || uint64(base) > s.lastNonce():
		s.retire(w)
		*s = slot{minute: k.Minute(), source: source, base: base, last: uint8(k.Maximum())}
	case base != s.base:
		return Older
	case k.Minute() != s.minute || source != s.source:
		return OtherSource
	}
	word, bit := k.Sequence()/64, uint64(1)<<(k.Sequence()%64)
	if s.seen[word]&bit != 0 {
		return Replay
	}
	s.seen[word] |= bit
	s.count++
	if int(s.count) == int(k.Maximum())+1 {
		return Opened
	}
	return Recorded
}

// retire marks all nonces of the attempt as used, those that never came
// included.
func (s *slot) retire(w *replay.Window) {
	if !s.source.IsValid() {
		return
	}
	for n := uint64(s.base); n <= min(s.lastNonce(), math.MaxUint32); n++ {
		w.Accept(uint32(n))
	}
}

func (s *slot) lastNonce() uint64 { return uint64(s.base) + uint64(s.last) }
