package limit

import (
	"net/netip"
	"time"

	"sallyport/sessions"
	"sallyport/verify/challenge/exchange"
)

// Limits of the reserve.
const (
	// prefixesPerOperation is the number of prefixes that the reserve keeps for an
	// operation, the latest ones. The clients of one operation displace no prefix
	// of another.
	prefixesPerOperation = 64
	// reserveDivisor: the reserve has a quarter of the challenges a second, in addition to
	// them, for all prefixes together.
	reserveDivisor = 4
	// workDivisor: the reserve has a fifth of a table's work.
	workDivisor = 5
)

// PrefixLimit is the limit of each prefix in the reserve. An attacker that spoofs
// an address of a prefix uses up the share of that prefix only.
var PrefixLimit = sessions.Limit{Pause: 200 * time.Millisecond, Burst: 10}

// Reserve holds challenges for the addresses of known clients: while requests of
// strangers use up the limit, an address from which an operation was proved
// before still gets challenges. Use NewReserve to make it.
type Reserve struct {
	limit    Challenges
	prefixes map[*exchange.Operation]*[prefixesPerOperation]reservedPrefix
}

// reservedPrefix is an address, or a /64, from which an operation was proved.
type reservedPrefix struct {
	prefix netip.Prefix // zero: none
	at     time.Time    // of the latest proof
	bucket sessions.Bucket
}

// SplitWork divides the computations a second of a table: those of its reserve, and those
// of all other challenges.
func SplitWork(perSecond float64) (reserve, others float64) {
	return perSecond / workDivisor, perSecond - perSecond/workDivisor
}

// NewReserve returns the reserve of operations. The rate is that of all challenges a
// second, to which the reserve adds; work is the computations a second of the reserve.
func NewReserve(o *exchange.Operations, rate int, work float64) Reserve {
	r := Reserve{limit: NewChallenges(float64(rate)/reserveDivisor, work)}
	r.Update(o)
	return r
}

// Update changes the operations. Those that stay, as the same pointer, keep their
// prefixes.
func (r *Reserve) Update(o *exchange.Operations) {
	before := r.prefixes
	r.prefixes = map[*exchange.Operation]*[prefixesPerOperation]reservedPrefix{}
	for _, op := range o.List() {
		known := new([prefixesPerOperation]reservedPrefix)
		if was := before[op]; was != nil {
			*known = *was
		}
		r.prefixes[op] = known
	}
}

// Add records the address from which an operation was proved.
func (r *Reserve) Add(o *exchange.Operation, a netip.Addr, now time.Time) {
	known := r.prefixes[o]
	if known == nil {
		return
	}
	prefix := prefixOf(a)
	oldest := &known[0]
	for i := range known {
		e := &known[i]
		if e.prefix == prefix {
			e.at = now
			return
		}
		if e.at.Before(oldest.at) {
			oldest = e
		}
	}
	*oldest = reservedPrefix{prefix: prefix, at: now}
}

// Take reports whether the reserve has one more challenge for an address.
func (r *Reserve) Take(o *exchange.Operation, a netip.Addr, now time.Time) bool {
	known := r.prefixes[o]
	if known == nil {
		return false
	}
	prefix := prefixOf(a)
	for i := range known {
		if e := &known[i]; e.prefix == prefix {
			return e.bucket.Take(now, PrefixLimit) && r.limit.Take(o, now)
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
