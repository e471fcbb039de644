package handshakes

import (
	"net/netip"

	"sallyport/verify/challenge/exchange"
)

// Trace gets what becomes of the requests of operations, and of responses that are not
// right or not complete. Any host can cause that: only Config.OnProof is authenticated. The
// goroutine that calls Receive, or Sweep, calls it. It must not block or allocate.
type Trace func(*exchange.Operation, Outcome, netip.Addr)

// SetTrace puts a trace in force, in place of the one before, or none: nil. Any goroutine
// may call it.
func (t *Table) SetTrace(trace Trace) {
	if trace == nil {
		t.trace.Store(nil)
		return
	}
	t.trace.Store(&trace)
}

// traced reports an outcome to the trace, if one runs.
func (t *Table) traced(o *exchange.Operation, outcome Outcome, source netip.Addr) {
	if trace := t.trace.Load(); trace != nil {
		(*trace)(o, outcome, source)
	}
}
