package client

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sallyport/sessions/client/carriers"
	"sallyport/verify/challenge/exchange"
)

// exchangeFindings collects the observations of all attempts.
type exchangeFindings struct {
	forged     int // challenges that were not authentic
	challenged int // authentic challenges that the client answered
	byAddress  map[netip.Addr]tally
	at         netip.AddrPort // the service of the last attempt
	service    error          // of the last attempt to connect to the service
	before     before         // what the service did before the request
	// The addresses of this computer: of its packets, as it sees it and as the server sees
	// it, and of its connections.
	sentFrom, public, connectedFrom netip.Addr
	// contradicted: after a response that opened nothing, another challenge had come
	// than the answered one.
	contradicted bool
	fault        *carriers.Fault // of the last message by HTTP or DNS; nil: none
	tunnel       error           // of the last connection through the web server
}

func (x *exchanging) offline(attempts int) error {
	e, cfg := &x.found, x.cfg
	return offlineError(OfflineError{
		Server: cfg.Server, Service: e.at, Attempts: attempts, Up: e.challenged > 0, err: e.service,
		found: e.found(), letIn: e.symptom().showsGrant(x.granted),
	}, e.diagnose(cfg, x.by, x.granted))
}

// symptom is what the client saw of the service.
func (e *exchangeFindings) symptom() symptom {
	return symptom{at: e.at, err: e.service, before: e.before, sentFrom: e.sentFrom, connectedFrom: e.connectedFrom}
}

// found returns the answer in place of a challenge; empty: there was none.
func (e *exchangeFindings) found() string {
	switch {
	case e.forged > 0:
		return "the challenges are not authentic"
	case e.fault != nil && !e.fault.Cause.Silent():
		return e.fault.Error()
	}
	return ""
}

// letIn is as for findings.
func (e *exchangeFindings) letIn() bool { return e.challenged > 0 && e.symptom().letIn() }

// diagnose explains why no attempt opened the service.
func (e *exchangeFindings) diagnose(cfg ExchangeConfig, by Carrier, granted bool) (d diagnosis) {
	switch {
	case e.challenged > 0:
		e.diagnoseResponses(&d, cfg, by, granted)
	case e.fault != nil && e.forged == 0:
		e.diagnoseFault(&d, cfg)
	default:
		e.diagnoseUnchallenged(&d, cfg)
	}
	if d.reason == ReasonNoChallenge || d.reason == ReasonResponseFailed {
		d.adviseTrace(cfg.Challenge.Operation.ID())
	}
	if e.contradicted {
		d.see("different challenges came for one request")
		d.conclude("the network has delivered packets twice, or an attacker "+
			"sends challenges in the server's name. Algorithms 2 and 3 detect those of an attacker that does not "+
			"see this computer's packets; operation %q has algorithm %d", cfg.Challenge.Operation.ID(), cfg.Challenge.Operation.Algorithm())
	}
	for _, address := range slices.SortedFunc(maps.Keys(e.byAddress), netip.Addr.Compare) {
		t := e.byAddress[address]
		if l := (Lost{Requests: t.requested - t.challenged}); t.challenged > 0 && l.Requests > 0 {
			d.see("%s; %s received one", l, attempts(t.challenged))
		}
	}
	return d
}

// diagnoseUnchallenged explains that the client received no authentic challenge.
func (e *exchangeFindings) diagnoseUnchallenged(d *diagnosis, cfg ExchangeConfig) {
	id := cfg.Challenge.Operation.ID()
	if e.forged > 0 {
		d.reason = ReasonChallengeForged
		d.see("%d challenges were not authentic", e.forged)
		if e.fault != nil && e.fault.Cause != carriers.Forged {
			d.see("%s", e.fault)
		}
		if cfg.Challenge.Operation.Signed() {
			d.conclude("the host key in the profile is not that of the server: ask for a new profile; or an attacker sent them")
			return
		}
		d.conclude("the secret or the algorithm of operation %q differs from the server's, or an attacker sent them", id)
		return
	}
	d.reason = ReasonNoChallenge
	d.see("the client received no challenge")
	d.conclude("the server does not have operation %q, or no use of it is left; or it does not allow it from this address, uses another algorithm, other encodings or ports, or does not run", id)
	d.conclude("a firewall blocks %s", cfg.Challenge.blocked())
	d.conclude("packets of every attempt were lost on the way")
	cfg.explainSpread(d)
	cfg.explainClock(d)
}

// explainClock explains what the clock has to do with a request without a challenge.
func (cfg ExchangeConfig) explainClock(d *diagnosis) {
	if cfg.Challenge.Hop != 0 {
		clockFacts{state: ClockState(), now: cfg.Now()}.explain(d)
	}
}

// diagnoseResponses explains that the service did not open after a response.
func (e *exchangeFindings) diagnoseResponses(d *diagnosis, cfg ExchangeConfig, by Carrier, granted bool) {
	s := e.symptom()
	s.granted, s.own = granted, s.ownConnections()
	d.see("the client responded to %s", challenges(e.challenged))
	if told, ok := s.diagnose("request"); ok {
		d.reason, d.todo = told.reason, told.todo
		d.certain, d.likely = append(d.certain, told.certain...), told.likely
		return
	}
	d.reason = ReasonResponseFailed
	if s.err == nil && by == CarrierPackets {
		return
	}
	if s.err != nil {
		d.see("%s", s.text("request"))
	}
	if by != CarrierPackets {
		e.diagnoseCarried(d, cfg)
		return
	}
	if e.public.IsValid() && e.public != e.sentFrom.WithZone("") {
		d.see("the server sees this computer as %s, and not as %s: a NAT is on the way", e.public, e.sentFrom)
	}
	if unilateral := cfg.Challenge.Operation.Algorithm() == exchange.Unilateral; unilateral && e.behindNAT() {
		d.conclude("a NAT is on the way to %s, and Algorithm 1 does not work behind one: ask the administrator for algorithm 2 or 3", e.at.Addr())
	}
	if other := otherService(cfg.Server, cfg.Challenge.Service, cfg.Service); other != "" {
		d.reason = ReasonOtherService
		d.see("the service of the profile is %s", other)
		d.conclude("operation %q does not open port %d", cfg.Challenge.Operation.ID(), e.at.Port())
	}
	d.conclude("packets of the responses were lost on the way")
	if cfg.Challenge.Operation.Signed() {
		d.conclude(keyRemoved)
	}
	// An authentic challenge shows that the secret is the server's, except with this
	// algorithm, whose challenges have no code.
	if cfg.Challenge.Operation.Algorithm() == exchange.Unilateral {
		d.conclude("the secret differs from the server's")
	}
	d.conclude("this computer connects from another address than it sends packets from")
	d.conclude("the program behind the service does not run")
	if timedOut(e.service) && cfg.Challenge.Bind == BindISN && cfg.Keep {
		d.conclude("%s", isnHint)
	}
}

// keyRemoved is a conclusion for operations with public keys.
const keyRemoved = "the server no longer knows this key: ask its administrator"

// behindNAT reports whether this computer's address shows that there is a NAT.
func (e *exchangeFindings) behindNAT() bool {
	way := natTo(e.sentFrom, e.at.Addr())
	return way == natPresent || way == natOfCarrier
}

func challenges(n int) string {
	if n == 1 {
		return "one challenge"
	}
	return fmt.Sprintf("%d challenges", n)
}
