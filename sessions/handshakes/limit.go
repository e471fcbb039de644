package handshakes

import (
	"net/netip"
	"time"

	"sallyport/sessions"
	"sallyport/verify/challenge/exchange"
)

// rateLimit is a token bucket, with a token for each challenge. It holds at most
// the tokens of a tenth of a second.
type rateLimit struct {
	rate, tokens float64   // rate: tokens a second
	at           time.Time // of tokens
}

// take reports whether one more challenge may be sent now.
func (l *rateLimit) take(now time.Time) bool {
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

// Limits of the reserve.
const (
	// prefixesPerOperation is the number of prefixes that the reserve keeps for an
	// operation, the latest ones. The clients of one operation displace no prefix
	// of another.
	prefixesPerOperation = 64
	// reserveDivisor: the reserve has a quarter of the challenges a second, in
	// addition to them, for all prefixes together.
	reserveDivisor = 4
)

// prefixLimit is the limit of each prefix in the reserve. An attacker that spoofs
// an address of a prefix uses up the share of that prefix only.
var prefixLimit = sessions.Limit{Pause: 200 * time.Millisecond, Burst: 10}

// reserve holds challenges for the addresses of known clients: while requests of
// strangers use up the limit, an address from which an operation was proved
// before still gets challenges. It belongs to the table's goroutine. Its memory is
// allocated when it is made.
type reserve struct {
	limit    rateLimit
	prefixes map[*exchange.Operation]*[prefixesPerOperation]reservedPrefix
}

// reservedPrefix is an address, or a /64, from which an operation was proved.
type reservedPrefix struct {
	prefix netip.Prefix // zero: none
	at     time.Time    // of the latest proof
	bucket sessions.Bucket
}

func newReserve(o *exchange.Operations, rate int) reserve {
	r := reserve{
		limit:    rateLimit{rate: float64(rate) / reserveDivisor},
		prefixes: map[*exchange.Operation]*[prefixesPerOperation]reservedPrefix{},
	}
	for _, op := range o.List() {
		r.prefixes[op] = new([prefixesPerOperation]reservedPrefix)
	}
	return r
}

// add records the address from which an operation was proved.
func (r *reserve) add(o *exchange.Operation, p packet) {
	known := r.prefixes[o]
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
	*oldest = reservedPrefix{prefix: prefix, at: p.now}
}

// take reports whether the reserve has one more challenge for an address.
func (r *reserve) take(o *exchange.Operation, p packet) bool {
	known := r.prefixes[o]
	if known == nil {
		return false
	}
	prefix := prefixOf(p.source.Addr())
	for i := range known {
		if e := &known[i]; e.prefix == prefix {
			return e.bucket.Take(p.now, prefixLimit) && r.limit.take(p.now)
		}
	}
	return false
}

// prefixOf returns the /64 of an IPv6 address, unless it is link-local; otherwise
// the address as a prefix.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() && !a.IsLinkLocalUnicast() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // no error for a valid address
	return p
}
