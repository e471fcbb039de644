package carried

import (
	"fmt"
	"net/netip"

	"sallyport/verify/challenge/exchange"
)

// Event is what a trace shows of a message, or of an exchange. Any host can cause each.
// A right response is none: Config.OnProof has it, and only a holder of the secret causes it.
type Event uint8

// The events.
const (
	NoOperation  Event = iota // a request that names no operation; the trace gets none
	OtherAddress              // a request for a kind of address that the client, or the server, does not have there
	NotAllowed                // a request that Config.Allows refuses
	NotValid                  // a request whose ephemeral key is invalid, or whose operation was just replaced
	NoExchange                // a response, and no exchange has its number: it has expired; the trace gets no operation
	outcomes                  // + Outcome: all others
	NumEvents    = int(outcomes) + NumOutcomes
)

var eventNames = [outcomes]string{"no_operation", "other_address", "not_allowed", "not_valid", "no_exchange"}

// EventOf returns the event of an outcome.
func EventOf(o Outcome) Event { return outcomes + Event(o) }

// Outcome returns the outcome, if the event is one.
func (e Event) Outcome() (Outcome, bool) {
	return Outcome(e - outcomes), e >= outcomes && int(e) < NumEvents
}

// String returns the name of the event: for an outcome, that of its counter.
func (e Event) String() string {
	if o, ok := e.Outcome(); ok {
		return o.String()
	}
	if e < outcomes {
		return eventNames[e]
	}
	return fmt.Sprintf("event %d", uint8(e))
}

// Trace gets what becomes of requests and exchanges, with their operation; nil: the message
// names none. The address is the one for which the exchange is: zero, if it is for a
// connection, or the message has no exchange. Several goroutines call it, some under the
// table's lock: it must not block, allocate or call the table.
type Trace func(*exchange.Operation, Event, netip.Addr)

// SetTrace puts a trace in force, in place of the one before, or none: nil. Any goroutine
// may call it.
func (t *Table) SetTrace(trace Trace) {
	if trace == nil {
		t.trace.Store(nil)
		return
	}
	t.trace.Store(&trace)
}

// traces reports whether a trace runs.
func (t *Table) traces() bool { return t.trace.Load() != nil }

// traced reports an event to the trace, if one runs. o may be nil.
func (t *Table) traced(o *operation, e Event, client netip.Addr) {
	trace := t.trace.Load()
	if trace == nil {
		return
	}
	var of *exchange.Operation
	if o != nil {
		of = o.Operation
	}
	(*trace)(of, e, client)
}
