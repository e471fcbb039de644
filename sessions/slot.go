package sessions

import (
	"math"
	"net/netip"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
)

// slot holds the newest attempt of a client with one secret, and which of its n
// knocks have been recorded. An attempt is identified by a minute, a base nonce and
// a source address. The zero value holds no attempt.
type slot struct {
	minute schedule.Minute
	// portSecret is the one from whose ports knocks of the attempt came; zero: each came
	// at a port that several port secrets have at this index.
	portSecret schedule.SecretName

	source netip.Addr // zero: no attempt yet
	base   uint32
	last   uint8     // n-1
	count  uint8     // knocks recorded
	seen   [2]uint64 // a bit for each sequence ID
}

// record adds a knock with an unused nonce to its attempt. It returns Opened for
// the knock that completes an attempt, which happens once. When a newer attempt
// replaces the one in the slot, all nonces of the old one count as used in the
// secret's window. A knock whose base is one of the other nonces of the slot's
// attempt does not come from an honest client, and is not added.
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
	if name := k.PortSecret(); name != 0 {
		s.portSecret = name
	}
	if int(s.count) == int(k.Maximum())+1 {
		return Opened
	}
	return Recorded
}

// retire marks all nonces of the attempt as used, also those that have not
// arrived.
func (s *slot) retire(w *replay.Window) {
	if !s.source.IsValid() {
		return
	}
	for n := uint64(s.base); n <= min(s.lastNonce(), math.MaxUint32); n++ {
		w.Accept(uint32(n))
	}
}

func (s *slot) lastNonce() uint64 { return uint64(s.base) + uint64(s.last) }
