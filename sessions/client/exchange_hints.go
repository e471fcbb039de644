package client

import (
	"fmt"
	"net/netip"
)

// exchangeFindings collects the observations of all attempts.
type exchangeFindings struct {
	forged     int            // challenges that were not authentic
	challenged int            // authentic challenges
	at         netip.AddrPort // the service of the last attempt
	service    error          // of the last attempt to connect to the service
	before     before         // what the service did before the request
	// contradicted: after a response that opened nothing, another challenge had come
	// than the answered one.
	contradicted bool
}

func (e exchangeFindings) offline(cfg ExchangeConfig, attempts int) error {
	return &OfflineError{
		Server: cfg.Server, Service: e.at, Attempts: attempts, Up: e.challenged > 0,
		Hints: e.hints(cfg), err: e.service, opened: closedByProgram(e.service) || e.letIn(),
	}
}

// letIn is as for findings.
func (e exchangeFindings) letIn() bool {
	return e.challenged > 0 && refused(e.service) && e.before == beforeSilent
}

func (e exchangeFindings) hints(cfg ExchangeConfig) (hints []string) {
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	id := cfg.Challenge.Operation.ID()
	other := otherService(cfg.Server, cfg.Challenge.Service, cfg.Service)
	switch {
	case e.challenged == 0 && e.forged > 0:
		add("%d challenges were not authentic: "+
			"the secret or the algorithm of operation %q differs from the server's, "+
			"or an attacker sent them", e.forged, id)
	case e.challenged == 0:
		add("the client received no challenge: the server does not have operation %q, "+
			"does not allow it from this address, uses other encodings or ports, or does not run; "+
			"or a firewall blocks UDP to ports %d and above, or the challenge", id, cfg.Challenge.Request.Base)
	case closedByProgram(e.service):
		add("%s accepts connections, and closes them at once: the program behind it does not run, "+
			"or does not serve this computer", e.at)
	case e.letIn():
		add("%s did not answer before the request, and refuses connections since: "+
			"the server lets this computer in, but no program listens on port %d", e.at, e.at.Port())
	case e.service != nil:
		if other != "" {
			add("connections to %s fail. The service of the profile is %s: "+
				"does operation %q open port %d?", e.at, other, id, e.at.Port())
		}
		add("the client responded to %d challenges, but connections to %s fail (%v): the responses were lost, "+
			"the secret differs from the server's, this computer connects from another address than it sends "+
			"packets from, or the program behind the service does not run",
			e.challenged, e.at, innermost(e.service))
	}
	return hints
}
