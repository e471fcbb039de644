package daemon

import (
	"context"
	"log/slog"
	"time"

	"sallyport/ingest"
	"sallyport/ingest/capture"
	"sallyport/ingest/xdp"
	"sallyport/sessions"
	"sallyport/sessions/gate/prove"
	"sallyport/sessions/handshakes"
	"sallyport/verify"
)

// countersPause is the time between two lines about traffic: whatever the number
// of datagrams, the log grows by one line a minute.
const countersPause = time.Minute

// counters is a list of counters, each with its name in the log.
type counters []counter

type counter struct {
	name  string
	value uint64
}

// logCounters logs the counters that grew since the last line, until ctx ends,
// and then once more.
func (s *Server) logCounters(ctx context.Context) {
	ticker := time.NewTicker(countersPause)
	defer ticker.Stop()
	last, start, own := s.counters(), s.watchStart(), new(ownDatagrams)
	for more := true; more; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			more = false
		}
		now := s.counters()
		sent := s.self.Sent() // after them: they have no datagram that it lacks
		if attrs := now.since(own.leaveOut(last, now, sent)); attrs != nil {
			s.env.Log.Info("traffic", attrs...)
		}
		last = now
		start.check(s)
	}
}

func (s *Server) counters() counters {
	var dropped, leftOut, output uint64
	if s.env.LogDropped != nil {
		dropped = s.env.LogDropped()
	}
	if s.env.LogLeftOut != nil {
		leftOut = s.env.LogLeftOut()
	}
	if s.env.Programs != nil {
		output = s.env.Programs.Dropped()
	}
	stats := s.ingest.Stats()
	t := receiverCounters(stats)
	if s.shield != nil {
		t = append(t, shieldCounters(stats.Shield)...)
	}
	t = append(t, sessionCounters(s.sessions.Stats())...)
	if s.proves {
		t = append(t, connectionCounters(s.connections.Stats())...)
	}
	t = append(t, s.self.counters()...)
	t = append(t, processCounters(s.state.Failures(), dropped, leftOut, output)...)
	if s.fleet != nil {
		t = append(t, fleetCounters(s.fleet.Stats())...)
	}
	if s.list != nil {
		t = append(t, listCounters(s.list.Roster().Stats())...)
	}
	if s.shared != nil {
		t = append(t, grantCounters(s.shared.Stats())...)
	}
	if s.split != nil {
		t = append(t, splitCounters(s.split.Stats())...)
	}
	if c := s.challenge; c != nil {
		if c.capture != nil {
			t = append(t, captureCounters(c.capture.Stats())...)
			t = append(t, exchangeCounters(c.table.Stats())...)
			if c.relay != nil {
				t = append(t, relayCounters(c.relay.Stats())...)
			}
		}
		t = append(t, c.proofs.counters()...)
		t = append(t, c.carriers.counters()...)
	}
	return t
}

func receiverCounters(in ingest.Stats) counters {
	t := counters{{"kernel", in.Kernel}}
	// Of the datagrams that the kernel did not queue: how many a filter refused,
	// and how many found a full queue, as far as the kernel reports it.
	for _, tier := range in.Tiers {
		if tier.Counted {
			t = append(t, counter{tier.Name + "_refused", tier.Refused}, counter{tier.Name + "_full", tier.Full}, counter{tier.Name + "_either", tier.Either})
		}
	}
	t = append(t, counter{"received", in.Received}, counter{"overrun", in.Dropped})
	for r, n := range in.Reasons {
		t = append(t, counter{verify.Reason(r).String(), n})
	}
	return append(t, counter{"port_failures", in.Failures})
}

// shieldCounters counts the frames at the network driver, each once.
func shieldCounters(counts xdp.Counts) (t counters) {
	for i, n := range counts {
		t = append(t, counter{"shield_" + xdp.CountNames[i], n})
	}
	return t
}

func sessionCounters(outcomes [sessions.NumOutcomes]uint64) (t counters) {
	for o, n := range outcomes {
		t = append(t, counter{"session_" + sessions.Outcome(o).String(), n})
	}
	return t
}

// connectionCounters counts the connections to services with bind = "connection".
func connectionCounters(outcomes [prove.NumOutcomes]uint64) (t counters) {
	for o, n := range outcomes {
		t = append(t, counter{"connection_" + prove.Outcome(o).String(), n})
	}
	return t
}

func processCounters(stateFailures, logDropped, logLeftOut, outputDropped uint64) counters {
	return counters{{"state_failures", stateFailures}, {"log_dropped", logDropped}, {"log_left_out", logLeftOut}, {"program_output_dropped", outputDropped}}
}

func captureCounters(s capture.Stats) counters {
	return counters{{"exchange_packets", s.Received}, {"exchange_kernel", s.Dropped}, {"exchange_impossible", s.Refused}, {"exchange_capturer_failed", s.Unsent}}
}

func (p *proofs) counters() counters {
	return counters{
		{"exchange_lost", p.counts.lost.Load()},
		{"operation_rate_limited", p.counts.limited.Load()},
		{"operation_superseded", p.counts.superseded.Load()},
	}
}

func exchangeCounters(outcomes [handshakes.NumOutcomes]uint64) (t counters) {
	for o, n := range outcomes {
		t = append(t, counter{"exchange_" + handshakes.Outcome(o).String(), n})
	}
	return t
}

// since returns the counters that grew, and by how much; nil if none did.
func (t counters) since(last counters) (attrs []any) {
	for i, c := range t {
		if n := c.value - last[i].value; n > 0 {
			attrs = append(attrs, slog.Uint64(c.name, n))
		}
	}
	return attrs
}

// listVersion is the name of the version of the list of clients in force, which is no
// count.
const listVersion = "fleet_list_version"

// Counters returns all counters by their names in the log, and listVersion.
func (s *Server) Counters() map[string]uint64 {
	all := map[string]uint64{}
	for _, c := range s.counters() {
		all[c.name] = c.value
	}
	if s.list != nil { // not a count
		all[listVersion] = s.list.Roster().Stats().Version
	}
	return all
}
