package client

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

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
	// contradicted: after a response that opened nothing, another challenge had come
	// than the answered one.
	contradicted bool
}

// tally counts the exchanges with one address of the server.
type tally struct{ requested, challenged, opened int }

// count changes the tally of an address.
func (e *exchangeFindings) count(server netip.Addr, change func(*tally)) {
	if e.byAddress == nil {
		e.byAddress = map[netip.Addr]tally{}
	}
	t := e.byAddress[server]
	change(&t)
	e.byAddress[server] = t
}

// Lost counts the attempts of Exchange in which packets were lost on the way, as far as
// a client can know: it sent the same in another attempt, and was answered. A server
// that is flooded can drop an exchange, too.
type Lost struct {
	Requests  int // no challenge came: packets of the request, or the challenge, were lost
	Responses int // the service did not open: packets of the response were lost
}

// String returns a text about the attempts.
func (l Lost) String() string {
	var texts []string
	if l.Requests > 0 {
		texts = append(texts, fmt.Sprintf("%s received no challenge (packets of the request, or the challenge, were lost)", attempts(l.Requests)))
	}
	if l.Responses > 0 {
		texts = append(texts, fmt.Sprintf("%s received a challenge, and opened nothing (packets of the response were lost)", attempts(l.Responses)))
	}
	if len(texts) == 0 {
		return "no packets were lost"
	}
	return "packets were lost on the way: " + strings.Join(texts, ", and ")
}

func attempts(n int) string {
	if n == 1 {
		return "one attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// lost returns the attempts in which packets to or from an address were lost. Without
// any challenge, the client cannot know.
func (e *exchangeFindings) lost(server netip.Addr) (l Lost) {
	t := e.byAddress[server]
	if t.challenged > 0 {
		l.Requests = t.requested - t.challenged
	}
	if t.opened > 0 {
		l.Responses = t.challenged - t.opened
	}
	return l
}

func (e *exchangeFindings) offline(cfg ExchangeConfig, attempts int) error {
	return &OfflineError{
		Server: cfg.Server, Service: e.at, Attempts: attempts, Up: e.challenged > 0,
		Hints: e.hints(cfg), err: e.service, opened: closedByProgram(e.service) || e.letIn(),
	}
}

// letIn is as for findings.
func (e *exchangeFindings) letIn() bool {
	return e.challenged > 0 && refused(e.service) && e.before == beforeSilent
}

func (e *exchangeFindings) hints(cfg ExchangeConfig) (hints []string) {
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
			"or a firewall blocks %s; or packets of every attempt were lost on the way", id, cfg.Challenge.blocked())
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
		add("the client responded to %d challenges, but connections to %s fail (%v): packets of the responses were "+
			"lost on the way, %sthis computer connects from another address than it sends packets from, "+
			"or the program behind the service does not run",
			e.challenged, e.at, innermost(e.service), e.otherSecret(cfg))
	}
	if e.contradicted {
		add("different challenges came for one request: the network has delivered packets twice, or an attacker "+
			"sends challenges in the server's name. Algorithms 2 and 3 detect those of an attacker that does not "+
			"see this computer's packets; operation %q has algorithm %d", id, cfg.Challenge.Operation.Algorithm())
	}
	for _, address := range slices.SortedFunc(maps.Keys(e.byAddress), netip.Addr.Compare) {
		t := e.byAddress[address]
		if l := (Lost{Requests: t.requested - t.challenged}); t.challenged > 0 && l.Requests > 0 {
			add("%s; %s received one", l, attempts(t.challenged))
		}
	}
	if timedOut(e.service) && cfg.Challenge.Bind == BindISN && cfg.Keep {
		add("%s", isnHint)
	}
	return hints
}

// otherSecret returns the part of a hint about a secret that differs. An authentic
// challenge excludes that.
func (e *exchangeFindings) otherSecret(cfg ExchangeConfig) string {
	if cfg.Challenge.Operation.Algorithm() != exchange.Unilateral {
		return ""
	}
	return "the secret differs from the server's, "
}
