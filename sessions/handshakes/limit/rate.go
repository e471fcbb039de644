package limit

import "time"

// Rate is a token bucket, with a token for each challenge. It holds at most the tokens
// of a tenth of a second, but always one.
type Rate struct {
	rate, tokens float64   // rate: tokens a second
	at           time.Time // of tokens
}

// NewRate returns a full bucket of so many tokens a second.
func NewRate(perSecond float64) Rate { return Rate{rate: perSecond} }

// Take takes a token, and reports whether there was one. Now is a time of a clock that
// is never set.
func (r *Rate) Take(now time.Time) bool {
	burst := max(r.rate/10, 1)
	if r.at.IsZero() {
		r.tokens, r.at = burst, now
	} else if d := now.Sub(r.at); d > 0 {
		r.tokens, r.at = min(r.tokens+d.Seconds()*r.rate, burst), now
	}
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}
