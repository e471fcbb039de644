package daemon

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
)

// selfTest is the test that this server makes of itself (package selftest). The zero value
// makes none.
type selfTest struct {
	*selftest.Tester
	nothing *gate.Service // which its grants open: it has no enforcer
}

// newSelfTest makes the test. It uses the receiver and the sessions only once it runs.
func (s *Server) newSelfTest(cfg *config.Config) {
	if s.env.SelfTest.Interval == 0 || !cfg.SelfTest {
		return
	}
	targets := selftest.Targets(cfg.Listen)
	s.self = selfTest{
		selftest.New(selftest.Config{
			Pace: s.env.SelfTest, Clock: s.env.Clock, Load: s.load, Log: s.env.Log,
			Sign: s.signOwn,
			Send: func(knocks []client.Packet, turn int) error {
				return selftest.Send(knocks, targets[turn%len(targets)])
			},
		}),
		gate.NewService(gate.ServiceConfig{
			Name: "self-test", PrefixLen6: access.PrefixHost, Policy: gate.LeasePolicy{OpenFor: time.Second, OpenMax: time.Second, Addresses: 1},
			Clock: s.env.Clock, Log: slog.New(slog.DiscardHandler),
		}),
	}
}

// signOwn returns a sequence of the server's own client, for the settings in force.
func (s *Server) signOwn(key verify.Key, now time.Time, base uint32) ([]client.Packet, error) {
	in, _ := s.current()
	return client.Sequence(client.Profile{
		PortSecret: in.cfg.PortSecret.Current, Generator: in.cfg.Generator, Ports: in.cfg.Ports, Identifier: key.Identifier, Secret: key.Secret,
	}, now, base)
}

// throughSessions makes the knocks of the test pass through sessions, and through the
// record of this host, also if the record of clients is that of a fleet.
func (t selfTest) throughSessions(c sessions.Config, local sessions.Journal) sessions.Config {
	if t.Tester == nil {
		return c
	}
	c.Test, c.Tested = t.Keys()[0].Identifier, t.Note
	c.Journal, c.Gate = t.Journal(c.Journal, local), t.Gate(c.Gate, t.nothing)
	return c
}

// run tests until ctx ends, once clients get in.
func (t selfTest) run(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	}
	ended := make(chan error)
	go func() { ended <- t.nothing.Run(ctx) }()
	t.Run(ctx)
	return <-ended
}

// manyGrants is how many grants wait at most while the disk is fast enough.
const manyGrants = 8192

// load returns what may delay or drop knocks.
func (s *Server) load() selftest.Load {
	in, outcomes := s.ingest.Stats(), s.sessions.Stats()
	l := selftest.Load{
		Dropped: in.Dropped + outcomes[sessions.QueueFull] + selftest.HostDrops(os.DirFS("/proc")),
		Offset:  s.wallOffset(), Suspended: s.suspended(), Received: s.start.since(), Unopened: in.Failed,
	}
	for _, t := range in.Tiers {
		l.Dropped += t.Full + t.Either
	}
	for _, q := range s.queues(in) {
		room := q.Room
		if room == 0 {
			room = manyGrants
		}
		l.Crowded = l.Crowded || q.Waiting > room/2
	}
	return l
}

// raiseNonces raises the clients' marks to those in the record. No record doubts the test's
// client, whose secret is new.
func (s *Server) raiseNonces(slots []sessions.Client) error {
	defer selftest.Forgive(slots)
	return s.state.RaiseNonces(slots)
}

// keepAlive reports to the service manager that the server is ready, and sends signs of life
// while the tests pass, until the function that it returns is called. The server does not wait
// for a manager that reads nothing.
func (s *Server) keepAlive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.env.Manager.SendUntil(ctx, "READY=1")
		s.env.Manager.KeepAlive(ctx, s.self.Alive)
	}()
	return func() {
		cancel()
		<-ended
		s.env.Manager.Send("STOPPING=1")
	}
}

// selfPassed is the counter of tests that have passed. It makes no line of the log.
const selfPassed = "self_test_passed"

func (t selfTest) counters() (all counters) {
	if t.Tester == nil {
		return nil
	}
	return testCounters(t.Counts())
}

func testCounters(results [selftest.NumResults]uint64) (all counters) {
	for r, n := range results {
		all = append(all, counter{"self_test_" + selftest.Result(r).String(), n})
	}
	return all
}

func (t selfTest) status() *admin.SelfTest {
	if t.Tester == nil {
		return nil
	}
	last := t.Last()
	st := &admin.SelfTest{Missed: last.Row}
	if !last.At.IsZero() {
		at := last.At.UTC()
		st.Result, st.Reason, st.At, st.Took = last.Result.String(), last.Reason, &at, last.Took.Seconds()
	}
	return st
}

// ownDatagrams are the datagrams of the test that no line about traffic has left out yet.
type ownDatagrams struct {
	sent  uint64            // in total, at the last line
	ahead map[string]uint64 // of these, how many a counter has not shown yet
}

// leaveOut returns the counters of the last line, raised by what the test has caused since:
// the line about traffic shows neither its datagrams nor that it passes. sent is how many
// datagrams were sent in total, read after now.
func (o *ownDatagrams) leaveOut(last, now counters, sent uint64) counters {
	n := sent - o.sent
	o.sent = sent
	if o.ahead == nil {
		o.ahead = map[string]uint64{}
	}
	raised := slices.Clone(last)
	for i, c := range now {
		switch c.name {
		case selfPassed:
			raised[i].value = c.value
		case "received", verify.Authentic.String():
			o.ahead[c.name] += n
			own := min(o.ahead[c.name], c.value-last[i].value)
			o.ahead[c.name] -= own
			raised[i].value += own
		}
	}
	return raised
}
