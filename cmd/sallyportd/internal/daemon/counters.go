package daemon

import (
	"context"
	"log/slog"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/handshakes"
	"sallyport/verify"
)

// countersPause is the time between two lines about traffic: however much
// comes, the log grows by a line a minute.
const countersPause = time.Minute

// counters is a list of counters, each with its name in the log.
type counters []counter

type counter struct {
	name  string
	value uint64
}

// logCounters logs what was received since the last line, until ctx ends, and
// then once more.
func (s *Server) logCounters(ctx context.Context) {
	ticker := time.NewTicker(countersPause)
	defer ticker.Stop()
	last, start := s.counters(), s.watchStart()
	for more := true; more; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			more = false
		}
		now := s.counters()
		if attrs := now.since(last); attrs != nil {
			s.env.Log.Info("traffic", attrs...)
		}
		last = now
		start.look(s)
	}
}

func (s *Server) counters() counters {
	in := s.ingest.Stats()
	t := counters{{"kernel", in.Kernel}}
	// Of what the kernel has not queued, how much a filter refused and how much
	// found a full queue, as far as the kernel tells them apart.
	for _, tier := range in.Tiers {
		if tier.Counted {
			t = append(t, counter{tier.Name + "_refused", tier.Refused}, counter{tier.Name + "_full", tier.Full}, counter{tier.Name + "_either", tier.Either})
		}
	}
	t = append(t, counter{"received", in.Received}, counter{"overrun", in.Dropped})
	for r, n := range in.Reasons {
		t = append(t, counter{verify.Reason(r).String(), n})
	}
	for o, n := range s.sessions.Stats() {
		t = append(t, counter{"session_" + sessions.Outcome(o).String(), n})
	}
	t = append(t, counter{"port_failures", in.Failures}, counter{"state_failures", s.state.Failures()})
	if s.env.LogDropped != nil {
		t = append(t, counter{"log_dropped", s.env.LogDropped()})
	}
	return append(t, s.challenge.counters()...)
}

func (c *challenger) counters() (t counters) {
	if c == nil {
		return nil
	}
	s := c.capture.Stats()
	t = counters{{"exchange_packets", s.Received}, {"exchange_kernel", s.Dropped}, {"exchange_lost", c.proofs.counts.lost.Load()},
		{"operation_rate_limited", c.proofs.counts.limited.Load()}, {"operation_superseded", c.proofs.counts.superseded.Load()}}
	for o, n := range c.table.Stats() {
		t = append(t, counter{"exchange_" + handshakes.Outcome(o).String(), n})
	}
	return t
}

// since returns what has grown, by how much; nil if nothing has.
func (t counters) since(last counters) (attrs []any) {
	for i, c := range t {
		if n := c.value - last[i].value; n > 0 {
			attrs = append(attrs, slog.Uint64(c.name, n))
		}
	}
	return attrs
}

// Counters returns all counters by their names in the log.
func (s *Server) Counters() map[string]uint64 {
	all := map[string]uint64{}
	for _, c := range s.counters() {
		all[c.name] = c.value
	}
	return all
}
