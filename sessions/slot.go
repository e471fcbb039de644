package sessions

import (
	"net/netip"

	"sallyport/verify"
	"sallyport/verify/schedule"
)

// slot holds the newest attempt of a client: which of its n knocks have been
// recorded. An attempt is a minute, a base nonce and a source address. The
// zero value holds none.
type slot struct {
	minute schedule.Minute
	source netip.Addr // zero: no attempt yet
	base   uint32
	count  uint8
	seen   [2]uint64 // a bit a sequence ID
}

// record adds a fresh knock to the attempt that it belongs to. It answers
// Opened for the knock that makes an attempt complete, once an attempt.
func (s *slot) record(k verify.Knock, source netip.Addr) Outcome {
	base := k.Base()
	switch {
	case !s.source.IsValid() || base > s.base:
		*s = slot{minute: k.Minute(), source: source, base: base}
	case base < s.base:
		return Older
	case k.Minute() != s.minute || source != s.source:
		return Foreign
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
