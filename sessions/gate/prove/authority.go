package prove

import (
	"net/netip"
	"sync/atomic"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/wire"
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
	denied atomic.Pointer[Denied]
}

// Denied gets a connection whose preamble is authentic, and that does not reach its
// service. It must not block.
type Denied func(service string, client wire.Identifier, from netip.Addr, o Outcome)

// SetDenied sets the function that gets denied connections.
func (a *Authority) SetDenied(f Denied) { a.denied.Store(&f) }

// deny counts a denied connection, and passes it on.
func (p *Prover) deny(client wire.Identifier, from netip.Addr, o Outcome) {
	p.cfg.Authority.count(o)
	p.tell(client, from, o)
}

func (p *Prover) tell(client wire.Identifier, from netip.Addr, o Outcome) {
	if f := p.cfg.Authority.denied.Load(); f != nil && o != Closed {
		(*f)(p.cfg.Service, client, from.Unmap(), o)
	}
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
