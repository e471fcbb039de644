package sessions

import (
	"math"
	"net/netip"
	"time"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// Trace gets what becomes of the authenticated knocks of one client. Its functions are
// called by the shard of the client and by the recorder, and must not block.
type Trace struct {
	Identifier wire.Identifier
	// Decided gets each knock. Its Outcome is Opened if it completes its attempt.
	Decided func(Decision)
	// Granted gets each complete attempt: Opened; or Failed or Unrecorded, with the error;
	// Closed, UsedElsewhere or Superseded.
	Granted func(Grant, Outcome, error)
}

// Decision is what becomes of an authenticated knock.
type Decision struct {
	Outcome Outcome
	Knock   verify.Knock
	Source  netip.Addr
	// First is the source of the first knock of the attempt, and Count how many knocks of it
	// have arrived that count; without an attempt, they are zero.
	First netip.Addr
	Count uint8
	// Lowest is the lowest nonce that the window accepts, and Highest the highest one that
	// is used, after this knock.
	Lowest, Highest uint32
	// NotBefore: knocks that are stamped up to this Unix time are refused. MaxInt64: the
	// server does not accept knocks yet.
	NotBefore int64
}

// Trace puts a trace in force, in place of the one before, or none: nil.
func (s *Sessions) Trace(t *Trace) { s.recorder.trace.Store(t) }

// traces returns the trace that runs for a client; nil: none does.
func (r *recorder) traces(id wire.Identifier) *Trace {
	if t := r.trace.Load(); t != nil && t.Identifier == id {
		return t
	}
	return nil
}

// granted reports what becomes of a grant to the trace of its client, if there is one.
func (r *recorder) granted(g Grant, o Outcome, err error) {
	if t := r.traces(g.Identifier); t != nil {
		t.Granted(g, o, err)
	}
}

// explain returns what a trace shows of a knock, after its decision.
func (s *shard) explain(a arrival, o Outcome, of *attempt) Decision {
	d := Decision{Outcome: o, Knock: a.knock, Source: a.source.Unmap(), NotBefore: math.MinInt64}
	if of != nil {
		d.First, d.Count = of.source.addr(), of.count
	}
	i, ok := s.index[a.knock.Identifier()]
	if !ok {
		return d
	}
	w := s.clients[i].window(a.knock.Secret())
	if w == nil {
		return d
	}
	d.Lowest = w.nonces.Floor()
	d.Highest, _ = w.nonces.Highest()
	d.NotBefore = max(s.lostUntil, int64(w.lostUntil))
	switch w.since {
	case always:
	case notYet:
		d.NotBefore = math.MaxInt64
	default:
		d.NotBefore = max(d.NotBefore, (s.offset+w.since)/int64(time.Second))
	}
	return d
}
