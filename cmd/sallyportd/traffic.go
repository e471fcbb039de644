package main

import (
	"context"
	"log/slog"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
)

// trafficPause is the time between two lines about traffic: however much
// comes, the log grows by a line a minute.
const trafficPause = time.Minute

// logTraffic logs what was received since the last line, until ctx ends, and
// then once more.
func (s *server) logTraffic(ctx context.Context) {
	ticker := time.NewTicker(trafficPause)
	defer ticker.Stop()
	last := s.traffic()
	for more := true; more; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			more = false
		}
		now := s.traffic()
		if attrs := now.since(last); attrs != nil {
			s.log.Info("traffic", attrs...)
		}
		last = now
	}
}

// traffic is a list of counters, each with its name in the log.
type traffic []counter

type counter struct {
	name  string
	value uint64
}

func (s *server) traffic() traffic {
	in := s.ingest.Stats()
	t := traffic{{"kernel", in.Kernel}, {"received", in.Received}, {"overrun", in.Dropped}}
	for r, n := range in.Reasons {
		t = append(t, counter{verify.Reason(r).String(), n})
	}
	for o, n := range s.sessions.Stats() {
		t = append(t, counter{"session_" + sessions.Outcome(o).String(), n})
	}
	t = append(t, counter{"port_failures", in.Failures}, counter{"state_failures", s.state.Failures()})
	return append(t, s.second.counters()...)
}

// since returns what has grown, by how much; nil if nothing has.
func (t traffic) since(last traffic) (attrs []any) {
	for i, c := range t {
		if n := c.value - last[i].value; n > 0 {
			attrs = append(attrs, slog.Uint64(c.name, n))
		}
	}
	return attrs
}

// all returns the counters by their names.
func (t traffic) all() map[string]uint64 {
	all := make(map[string]uint64, len(t))
	for _, c := range t {
		all[c.name] = c.value
	}
	return all
}
