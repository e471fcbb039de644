package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/tracing"
	"sallyport/ingest"
	"sallyport/sessions"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// traces is the trace that runs. There is one at a time, since each opens filters and
// ports.
type traces struct {
	mu   sync.Mutex
	of   string // empty: none runs
	ends time.Time
}

// begin reserves the trace.
func (t *traces) begin(of string, now time.Time, lasts time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != "" {
		return hint.With(fmt.Errorf("a trace of %s runs until %s", t.of, t.ends.UTC().Format("15:04:05 UTC")),
			"wait until then, or end that command")
	}
	t.of, t.ends = of, now.Add(lasts)
	return nil
}

func (t *traces) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of = ""
}

// traced is what a trace is of: a client, operations, or both.
type traced struct {
	id         wire.Identifier
	knocks     bool            // knocks with id are traced
	known      bool            // a client has the identifier
	operations map[string]bool // by ID
}

// Trace starts a trace of a client, or of an operation. Its lines end with it: when its
// time is over, or ctx ends.
func (s *Server) Trace(ctx context.Context, asked admin.Trace) (<-chan admin.TraceLine, error) {
	lasts := time.Duration(asked.Seconds) * time.Second
	if lasts <= 0 || lasts > admin.MaxTrace {
		return nil, fmt.Errorf("expected 1 to %.0f seconds, got %d", admin.MaxTrace.Seconds(), asked.Seconds)
	}
	of, err := s.traced(asked.Identifier)
	if err != nil {
		return nil, err
	}
	if err := s.traces.begin(asked.Identifier, s.env.Clock.Wall(), lasts); err != nil {
		return nil, err
	}
	t, started := tracing.New(s.traceConfig(asked.Identifier, of.id)), admin.TraceLine{Event: admin.TraceStarted, Authenticated: true}
	started.Time = s.env.Clock.Wall().UTC()
	stop := func() {
		s.sessions.Trace(nil)
		// It fails only if the receiver has stopped.
		s.ingest.Trace(context.Background(), nil)
		s.challenge.setTrace(nil)
		s.traces.end()
		s.env.Log.Info("trace ended", "client", asked.Identifier)
	}
	if of.knocks {
		if err := s.traceKnocks(ctx, t, of, &started); err != nil {
			s.sessions.Trace(nil)
			s.traces.end()
			return nil, fmt.Errorf("start the trace: %w", err)
		}
	}
	if len(of.operations) > 0 {
		s.challenge.setTrace(&exchangeTrace{t, of.operations})
		if started.Text != "" {
			started.Text += "; "
		}
		started.Text += "exchanges of " + describeOperations(of.operations)
	}
	s.env.Log.Info("trace began; filters are open for this identifier", "client", asked.Identifier, "for", lasts)
	lines := make(chan admin.TraceLine)
	go t.Run(ctx, started, lasts, lines, stop)
	return lines, nil
}

// traced returns the client and the operations with an identifier.
func (s *Server) traced(identifier string) (of traced, err error) {
	of.operations = s.challenge.operationsOf(identifier)
	of.id, err = wire.ParseIdentifier(identifier)
	of.knocks = err == nil
	if !of.knocks && len(of.operations) == 0 {
		return of, hint.With(errors.New("expected the identifier of a client, which has 4 characters, or the ID of an operation"),
			"\"sallyportd client list\" and \"sallyportd operation list\" print them")
	}
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	_, of.known = s.reloads.table.Secrets(of.id)
	of.known = of.known && of.knocks
	if !of.known && of.operations[identifier] {
		of.knocks = false // an operation may have an ID of four characters
	}
	return of, nil
}

// traceKnocks opens the filters, and traces the knocks.
func (s *Server) traceKnocks(ctx context.Context, t *tracing.Trace, of traced, started *admin.TraceLine) error {
	reach := s.traceReach()
	if s.shield != nil && of.known {
		// The shield refuses nonces that are too far away before anything sees them.
		if _, err := s.sessions.Resync(ctx, of.id); err != nil {
			return err
		}
	}
	s.sessions.Trace(&sessions.Trace{Identifier: of.id, Decided: t.Decided, Granted: t.Granted})
	err := s.ingest.Trace(ctx, &ingest.Trace{Identifier: of.id, Ports: reach.ports, Refused: t.Refused, Unchecked: t.Unchecked})
	if err != nil {
		return err
	}
	s.describeTrace(started, of, reach)
	return nil
}

// maxTracePorts is how many further ports a trace opens at each address, and
// descriptorShare which part of the files that the process may still open.
const maxTracePorts, descriptorShare = 256, 4

// reach is how far a trace sees.
type reach struct{ ports, minutes, hours int }

// traceReach returns how many ports a trace may open, and how far a clock may then be off.
func (s *Server) traceReach() (r reach) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	cfg := s.reloads.current
	r.ports = min(maxTracePorts, freeDescriptors()/descriptorShare/(s.readers*max(1, len(cfg.Listen))))
	each := cfg.Ports
	if cfg.PortSecret.Previous != "" {
		each *= 2
	}
	r.minutes, r.hours = schedule.Reach(r.ports/each, s.env.Clock.Wall(), cfg.Tolerance)
	return r
}

// freeDescriptors is how many files the process may still open.
func freeDescriptors() int {
	var limit unix.Rlimit
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return max(0, int(min(limit.Cur, math.MaxInt32))-len(list))
}
