package handshakes

import (
	"time"

	"sallyport/verify/challenge/exchange"
)

const (
	// sweepTime is the time in which Sweep goes through the table, if it is called
	// often enough.
	sweepTime = 2 * time.Second
	// maxSweep is the maximum number of slots that a call goes through.
	maxSweep = 1 << 14
)

// incomplete returns the outcome of a slot whose exchange has expired: whether
// packets of a client's message were lost on the way. ok is false if probably no
// client sent it.
//
// Strangers send packets to these ports too. So a request counts only if at least
// half of its packets have arrived, with minRequestBits of an ID: random packets,
// and the scan of a range, never come that far, because each packet that does not
// continue the ID begins another request. A response counts from minResponseBits, for
// which the sender requires the secret. A request that began while a challenge waited
// is probably one that the network has duplicated. Of the slot for any port and those
// of single ports, which hold the same packets, only the latter count if one of them
// does.
func (t *Table) incomplete(s *slot) (o Outcome, ok bool) {
	switch s.State() {
	case exchange.Requesting:
		return RequestIncomplete, s.half() && !s.noLoss && !(s.port == anyPort && t.singlePortCounts(s))
	case exchange.Challenged:
		return ResponseIncomplete, s.Known() >= minResponseBits
	}
	return 0, false
}

// half reports whether half of a request has arrived, with a part of an ID.
func (s *slot) half() bool {
	return s.State() == exchange.Requesting && s.Known() >= minRequestBits && 2*s.Packets() >= s.Kind().RequestPackets()
}

// siblings calls f for the slots that can have packets of the same request as s: the
// slot for any port, or, for that, those of single ports. It ends when f returns
// false.
func (t *Table) siblings(s *slot, f func(*slot) bool) {
	bucket := t.bucketOf(s.client)
	for i := range bucket {
		o := &bucket[i]
		if o.client == s.client && (o.port == anyPort) != (s.port == anyPort) &&
			o.State() == exchange.Requesting && o.Kind() == s.Kind() && !f(o) {
			return
		}
	}
}

// singlePortCounts reports whether the address of a slot for any port has sent half
// of a request from one port.
func (t *Table) singlePortCounts(s *slot) (counts bool) {
	t.siblings(s, func(o *slot) bool { counts = o.half(); return !counts })
	return counts
}

// retire ends the exchange of a slot that has expired, and counts it if packets
// were lost.
func (t *Table) retire(s *slot) {
	if o, ok := t.incomplete(s); ok {
		t.count(o)
		if o == ResponseIncomplete {
			t.traced(s.Requested().Operation(), o, s.client)
		}
		if o == RequestIncomplete && s.port != anyPort {
			t.siblings(s, func(o *slot) bool { o.noLoss = true; return true })
		}
	}
	s.Reset()
}

// Sweep ends exchanges that have expired, so that they are counted although no
// packet arrives that requires their slot. It goes through a part of the table,
// according to the time since the last call. Only the goroutine that calls Receive
// may call it.
func (t *Table) Sweep(now time.Time) {
	passed := now.Sub(t.sweptAt)
	if t.sweptAt.IsZero() || passed > sweepTime {
		passed = sweepTime
	}
	n := min(int(float64(len(t.slots))*passed.Seconds()/sweepTime.Seconds()), maxSweep)
	if n <= 0 {
		return
	}
	t.sweptAt = now
	for range n {
		t.swept = (t.swept + 1) % len(t.slots)
		if s := &t.slots[t.swept]; s.State() != exchange.Free && s.expired(now) {
			t.retire(s)
		}
	}
}
