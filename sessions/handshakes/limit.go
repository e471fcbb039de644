package handshakes

import (
	"net/netip"
	"time"

	"sallyport/sessions"
	"sallyport/verify/challenge/exchange"
)

// limit is a bucket of tokens, one for each challenge: those of a tenth of a
// second at the most.
type limit struct {
	rate, tokens float64
	at           time.Time
}

// take reports whether one more may leave now.
func (l *limit) take(now time.Time) bool {
	burst := max(l.rate/10, 1)
	if l.at.IsZero() {
		l.tokens = burst
	} else if d := now.Sub(l.at); d > 0 {
		l.tokens = min(l.tokens+d.Seconds()*l.rate, burst)
	}
	l.at = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// A reserve is for those who have proved themselves: when strangers' requests use
// up the challenges, an address from which an operation was proved before gets
// some all the same.
const (
	// provedPrefixes is how many are remembered of an operation, the latest.
	// One operation's clients displace no other's.
	provedPrefixes = 64
	// reserveOf is the part of the challenges a second that there are besides, for
	// all of them together: a quarter.
	reserveOf = 4
)

// perProved is how many one of them has: whoever imitates its address takes from
// its own share alone.
var perProved = sessions.Limit{Pause: 200 * time.Millisecond, Burst: 10}

// reserve belongs to the table's goroutine. Its memory is made at once.
type reserve struct {
	limit limit
	known map[*exchange.Operation]*[provedPrefixes]proved
}

// proved is an address, or a /64, from which an operation was proved.
type proved struct {
	prefix netip.Prefix // zero: none
	at     time.Time
	bucket sessions.Bucket
}

func newReserve(o *exchange.Operations, rate int) reserve {
	r := reserve{limit: limit{rate: float64(rate) / reserveOf}, known: map[*exchange.Operation]*[provedPrefixes]proved{}}
	for _, op := range o.List() {
		r.known[op] = new([provedPrefixes]proved)
	}
	return r
}

// proved takes down where an operation was proved from.
func (r *reserve) proved(o *exchange.Operation, p packet) {
	known := r.known[o]
	if known == nil {
		return
	}
	prefix := prefixOf(p.source.Addr())
	oldest := &known[0]
	for i := range known {
		e := &known[i]
		if e.prefix == prefix {
			e.at = p.now
			return
		}
		if e.at.Before(oldest.at) {
			oldest = e
		}
	}
	*oldest = proved{prefix: prefix, at: p.now}
}

// take reports whether one more challenge may leave to an address by the reserve.
func (r *reserve) take(o *exchange.Operation, p packet) bool {
	known := r.known[o]
	if known == nil {
		return false
	}
	prefix := prefixOf(p.source.Addr())
	for i := range known {
		if e := &known[i]; e.prefix == prefix {
			return e.bucket.Take(p.now, perProved) && r.limit.take(p.now)
		}
	}
	return false
}

// prefixOf is whom an address stands for: itself, or its /64.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() && !a.IsLinkLocalUnicast() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // of a valid address it does not fail
	return p
}
