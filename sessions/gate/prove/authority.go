package prove

import (
	"sync/atomic"

	"sallyport/sessions"
	"sallyport/verify"
)

// Nonces has the nonces of all clients. *sessions.Sessions implements it, and documents
// the methods.
type Nonces interface {
	Check(*verify.Claim, func(sessions.Outcome))
	Use(verify.Connection, func(sessions.Outcome))
}

// Authority is what the Provers of all services share: the clients' keys, their nonces,
// and the counters. The zero value refuses every preamble. It is safe for concurrent
// use.
type Authority struct {
	rules  atomic.Pointer[verify.Rules]
	nonces atomic.Pointer[Nonces]
	counts [NumOutcomes]atomic.Uint64
}

// SetRules replaces the rules, for later preambles. Table and Tolerance apply.
func (a *Authority) SetRules(r verify.Rules) { a.rules.Store(&r) }

// SetNonces sets the Nonces.
func (a *Authority) SetNonces(n Nonces) { a.nonces.Store(&n) }

// Stats returns the number of connections with each outcome.
func (a *Authority) Stats() (all [NumOutcomes]uint64) {
	for o := range all {
		all[o] = a.counts[o].Load()
	}
	return all
}

func (a *Authority) count(o Outcome) { a.counts[o].Add(1) }
