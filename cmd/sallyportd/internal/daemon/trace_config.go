package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/tracing"
	"sallyport/ingest/prefilter"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/handshakes"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// traceConfig returns what a trace of a client asks of the server. Only the trace's own
// goroutine calls the functions.
func (s *Server) traceConfig(identifier string, id wire.Identifier) tracing.Config {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	return tracing.Config{
		Identifier: identifier, Wall: s.env.Clock.Wall, Boot: s.env.Clock.Boot, Tolerance: s.reloads.current.Tolerance,
		Services: s.openedBy,
		Expired: func() time.Time {
			s.reloads.mu.Lock()
			defer s.reloads.mu.Unlock()
			at, _ := s.reloads.table.ExpiresAt(id)
			return at
		},
		Synchronised: unsynchronised, NotAllowed: s.challenge.notAllowed,
	}
}

func unsynchronised() string {
	if client.ClockState() == client.ClockUnsynchronised {
		return "the kernel reports that no program synchronises it"
	}
	return ""
}

// openedBy returns the services that a grant has opened, and why it has not opened the
// others.
func (s *Server) openedBy(g sessions.Grant) (opened []string, others string) {
	waiting := s.gate.Waiting()
	var why, refused []string
	for _, service := range s.services {
		id := access.ID(service.name)
		switch {
		case !s.gate.May(g.Identifier, id):
			refused = append(refused, service.name)
		case waiting[service.name] != "":
			why = append(why, service.name+" stays closed: "+waiting[service.name])
		case !s.gate.Covers(id, g):
			why = append(why, service.name+" stays closed: it opens for one prefix, and the knocks came from several, or another gateway has it")
		case s.gate.defers(service.name):
			why = append(why, service.name+" opens when its program is ready and its opening command has succeeded")
		default:
			opened = append(opened, service.name)
		}
	}
	if len(refused) > 0 {
		why = append(why, "the client may not open "+strings.Join(refused, ", "))
	}
	return opened, strings.Join(why, "; ")
}

// describeTrace describes in the first line what the trace sees, and the client.
func (s *Server) describeTrace(l *admin.TraceLine, of traced, r reach) {
	var parts []string
	if !of.known {
		parts = append(parts, fmt.Sprintf("no client of the running server has the identifier %s", of.id))
		l.Hint = "\"sallyportd client list\" prints the clients; if it is there, \"sallyportd reload\" prints why the server has not accepted it"
	} else {
		parts = append(parts, s.describeClient(of.id))
	}
	stats := s.ingest.Stats()
	if stats.Filter != prefilter.None {
		parts = append(parts, "the kernel filter passes all datagrams with this identifier")
	}
	sees := "the trace listens at the ports of the live minutes only: the server may not open more files"
	if r.minutes > 0 {
		sees = fmt.Sprintf("it listens at the ports of other minutes too, so that it sees a clock that is off by up to %d minutes beyond the tolerance", r.minutes)
	}
	if r.hours > 0 {
		sees += fmt.Sprintf(", or by 1 to %d whole hours", r.hours)
	}
	parts = append(parts, sees)
	if stats.Untraced > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d ports of other minutes could not be opened, as another program has them, or no file is left", stats.Untraced, stats.Traced+stats.Untraced))
	}
	if err := s.knocks.untraced(); err != nil {
		parts = append(parts, fmt.Sprintf("the firewall does not open the ports of other minutes (%v), so that with stealth the trace does not see a clock that is further off than the tolerance", err))
	}
	for _, t := range stats.Tiers {
		if t.Name == "shield" && t.Level != prefilter.None {
			parts = append(parts, "the shield accepts any nonce of the client until its next knock, but refuses unseen, at the ports of the live minutes, another number of knocks, a wrong port or minute, and identifiers of no client")
		}
	}
	l.Text = strings.Join(parts, "; ")
}

// describeClient describes a client.
func (s *Server) describeClient(id wire.Identifier) string {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	table, now := s.reloads.table, s.env.Clock.Wall()
	text := fmt.Sprintf("client %s", id)
	if at, ok := table.ExpiresAt(id); ok && !now.Before(at) {
		return text + fmt.Sprintf(", which has expired at %s", at.UTC().Format(time.RFC3339))
	}
	var may []string
	for _, service := range s.services {
		if s.gate.May(id, access.ID(service.name)) {
			may = append(may, service.name)
		}
	}
	if len(may) == 0 {
		return text + ", which may open no service"
	}
	return text + ", which may open " + strings.Join(may, ", ")
}

// exchangeTrace is a trace of operations.
type exchangeTrace struct {
	*tracing.Trace
	operations map[string]bool
}

// setTrace puts a trace in force, in place of the one before, or none: nil. It may be
// called on nil.
func (c *challenger) setTrace(t *exchangeTrace) {
	if c == nil {
		return
	}
	c.trace.Store(t)
	var packets handshakes.Trace
	var messages carriedtable.Trace
	if t != nil {
		packets, messages = t.exchanged, t.carried
	}
	if c.table != nil {
		c.table.SetTrace(packets)
	}
	if c.carriers != nil {
		c.carriers.table.SetTrace(messages)
	}
}

// exchanged is the trace of exchanges by packets.
func (t *exchangeTrace) exchanged(o *exchange.Operation, outcome handshakes.Outcome, source netip.Addr) {
	if t.operations[o.ID()] {
		t.Exchanged(o.ID(), outcome, source)
	}
}

// carried is the trace of exchanges over HTTP and DNS. It shows messages without an
// operation too: they may be of a client whose profile has another ID.
func (t *exchangeTrace) carried(o *exchange.Operation, e carriedtable.Event, source netip.Addr) {
	if o == nil {
		t.Carried("", e, source)
	} else if t.operations[o.ID()] {
		t.Carried(o.ID(), e, source)
	}
}

// traced reports what becomes of an authenticated exchange to the trace, if one runs.
func (c *challenger) traced(operation string, p tracing.Proof, from netip.Addr, err error) {
	if t := c.trace.Load(); t != nil && t.operations[operation] {
		t.Proved(operation, p, from, err)
	}
}

// operationsOf returns the operations with an ID, or of a client. It may be called on nil.
func (c *challenger) operationsOf(identifier string) map[string]bool {
	ids := map[string]bool{}
	if c == nil {
		return ids
	}
	for id, o := range c.operations.Load().byID {
		if id == identifier || o.Client == identifier {
			ids[id] = true
		}
	}
	return ids
}

// notAllowed returns why an address may not use an operation.
func (c *challenger) notAllowed(operation string, a netip.Addr) string {
	o, ok := c.operations.Load().byID[operation]
	switch {
	case !ok:
		return "the operation was removed"
	case !o.Allows(a):
		return "its address is not in from of the operation"
	case !o.allows(a, c.wall()):
		return "its client has expired"
	case !c.may(o, a):
		return "the list of clients was not read from etcd yet, since the server has started"
	case c.uses.left(o.limit()) <= 0:
		return "no use of the operation is left (sallyportd operation reset " + operation + ")"
	}
	return "the operation cannot be used at this moment"
}

func describeOperations(ids map[string]bool) string {
	var names []string
	for id := range ids {
		names = append(names, id)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
