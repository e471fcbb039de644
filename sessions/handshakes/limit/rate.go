package limit

import (
	"time"

	"sallyport/verify/challenge/exchange"
)

// Rate is a token bucket, with a token for each challenge. It holds at most the tokens
// of a tenth of a second, but always one.
type Rate struct {
	rate, tokens float64   // rate: tokens a second
	least        float64   // it can hold so many in any case
	at           time.Time // of tokens
}

// NewRate returns a full bucket of so many tokens a second.
func NewRate(perSecond float64) Rate { return Rate{rate: perSecond} }

// WithBurst returns the bucket with room for so many tokens in any case.
func (r Rate) WithBurst(tokens float64) Rate {
	r.least = tokens
	return r
}

// SetRate changes the rate to that of another one. The tokens stay.
func (r *Rate) SetRate(to Rate) { r.rate = to.rate }

// Take takes a token, and reports whether there was one. Now is a time of a clock that
// is never set.
func (r *Rate) Take(now time.Time) bool { return r.TakeN(1, now) }

// TakeN takes n tokens, or none if there are fewer.
func (r *Rate) TakeN(n float64, now time.Time) bool {
	if !r.has(n, now) {
		return false
	}
	r.tokens -= n
	return true
}

func (r *Rate) has(n float64, now time.Time) bool {
	burst := max(r.rate/10, r.least, 1)
	if r.at.IsZero() {
		r.tokens, r.at = burst, now
	} else if d := now.Sub(r.at); d > 0 {
		r.tokens, r.at = min(r.tokens+d.Seconds()*r.rate, burst), now
	}
	return r.tokens >= n
}

// KeyWork is the maximum number of computations with public keys a second, in the sense
// of exchange.Operation.Work, that this process makes: some 8 % of a core, however many
// requests arrive. Those for a wrong response are counted with its request. It is divided
// among all tables, and the reserve of each, so that a flood of one keeps out no other.
const KeyWork = 1000

// mostWork is the work for one challenge, at most. Every bucket of work holds as much.
const mostWork = 1 + exchange.MaxKeys

// Challenges limits challenges, and the computations with public keys that they cause.
type Challenges struct{ challenges, work Rate }

// NewChallenges returns a full bucket of so many challenges, and computations, a
// second.
func NewChallenges(perSecond, workPerSecond float64) Challenges {
	c := Challenges{NewRate(perSecond), NewRate(workPerSecond)}
	c.work.least = mostWork
	return c
}

// NewShare is NewChallenges for one operation.
func NewShare(o *exchange.Operation, perSecond, workPerSecond float64) Challenges {
	c := NewChallenges(perSecond, workPerSecond)
	c.work.least = float64(o.Work())
	return c
}

// SetRates changes the rates to those of another one. The tokens stay.
func (c *Challenges) SetRates(to Challenges) {
	c.challenges.rate, c.work.rate = to.challenges.rate, to.work.rate
}

// Take reports whether one more challenge for an operation may be sent now.
func (c *Challenges) Take(o *exchange.Operation, now time.Time) bool {
	work := float64(o.Work())
	if work > 0 && !c.work.has(work, now) || !c.challenges.Take(now) {
		return false
	}
	c.work.tokens -= work
	return true
}
