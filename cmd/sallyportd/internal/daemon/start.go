package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
	"sallyport/verify/schedule"
)

// start is what the server knows of its own start, and of later moments since
// which it knows all knocks of a client.
type start struct {
	gap   state.Gap
	ready chan struct{} // closed: who knocks now gets in

	mu     sync.Mutex
	latest time.Time // by the clock that is never set; zero: there was none
}

func (s *start) of(wall func() time.Time) *sessions.Start {
	return &sessions.Start{Wall: wall, Fresh: s.gap.Fresh, NotBeforeMargin: s.gap.NotBeforeMargin, LostUntil: s.gap.LostUntil}
}

// tell logs what the start refuses beyond what each does.
func (s *start) tell(now time.Time, log *slog.Logger) {
	if s.gap.NotBeforeMargin > 0 {
		log.Warn("nonce record incomplete; rejecting knocks stamped up to the start and some time later", "later", s.gap.NotBeforeMargin)
	}
	if s.gap.LostUntil.After(now) {
		log.Warn("nonce record incomplete; rejecting knocks stamped up to a client's clock", "stamped_until", s.gap.LostUntil.UTC().Format(time.RFC3339), "now", now.UTC().Format(time.RFC3339))
	}
}

// began takes down a moment since which all knocks are known.
func (s *start) began(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since.After(s.latest) {
		s.latest = since
	}
}

func (s *start) since() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// begin tells the sessions that all knocks are received from now on: the knock
// ports are open, and know all clients of the list. An error means that ctx has
// ended.
func (s *Server) begin(ctx context.Context) (began bool, err error) {
	since, began, err := s.sessions.Begin(ctx)
	if began {
		s.start.began(since)
	}
	return began, err
}

// become waits until the server serves, and then closes ready.
func (s *Server) become(ctx context.Context) error {
	select {
	case <-s.ingest.Ready():
	case <-ctx.Done():
		return nil
	}
	began, err := s.begin(ctx)
	if err != nil {
		return nil // the end
	}
	if began {
		awaitSecond(ctx, s.env.Clock, s.start.since())
	}
	if ctx.Err() == nil {
		close(s.start.ready)
	}
	return nil
}

// settled is a reload that ends when its new clients get in.
func (s *Server) settled(reload func(context.Context) (int, error)) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		n, err := reload(ctx)
		if err == nil {
			awaitSecond(ctx, s.env.Clock, s.start.since())
		}
		return n, err
	}
}

// awaitSecond waits until the second is over that the wall clock showed at a
// moment of the boot-time clock, as knocks are judged: however it is set
// meanwhile, that takes a second at the most.
func awaitSecond(ctx context.Context, c clock.Clock, since time.Time) {
	for {
		boot := c.Boot()
		wall := c.Wall()
		threshold := time.Unix(sessions.Threshold(wall, boot, since)+1, 0)
		if !wall.Before(threshold) {
			return
		}
		select {
		case <-time.After(threshold.Sub(wall)):
		case <-ctx.Done():
			return
		}
	}
}

// markRekeyed says of a plan's clients which have got a secret that the server did
// not know before: it has missed the knocks that were signed with it.
func (s *Server) markRekeyed(p *plan) {
	wall, before := s.env.Clock.Wall(), s.reloads.table
	if before == nil {
		return
	}
	for i := range p.slots {
		id := p.slots[i].Identifier
		if has, ok := p.terms.Rules.Table.Secrets(id); ok {
			p.slots[i].Rekeyed = before.Withdraws(has, id, wall)
		}
	}
}

// startWatch looks once a minute whether clocks, or what is refused because of
// them, are worth a line of the log.
type startWatch struct {
	offset  time.Duration // of the wall clock from the boot-time clock
	refused uint64
}

// step is by how much the wall clock is set, between two looks, for the log to
// mention it: a time service that corrects a good clock moves it less.
const notableStep = 2 * time.Second

func (s *Server) watchStart() *startWatch {
	return &startWatch{offset: s.env.Clock.Wall().Sub(s.env.Clock.Boot())}
}

// look logs at most a line of each kind, and has the state file know when a doubt
// is over.
func (w *startWatch) look(s *Server) {
	if err := s.state.ClearMargin(); err != nil {
		s.env.Log.Error("the state file cannot be written: the next start refuses knocks for longer", "error", err)
	}
	boot := s.env.Clock.Boot()
	wall := s.env.Clock.Wall()
	offset := wall.Sub(boot)
	if step := offset - w.offset; step > notableStep || step < -notableStep {
		s.env.Log.Warn("the wall clock was set", "by", step.Round(time.Millisecond), "now", wall.UTC().Format(time.RFC3339))
	}
	w.offset = offset
	if newest := s.state.NewestStamp(); newest.After(wall.Add(schedule.MaxTolerance)) {
		s.env.Log.Warn("the wall clock is behind a knock that was accepted before: this clock is wrong, or was", "stamped", newest.UTC().Format(time.RFC3339), "now", wall.UTC().Format(time.RFC3339))
	}
	refused := s.sessions.Stats()[sessions.BeforeStart]
	if n := refused - w.refused; n > 0 {
		until := s.start.gap.LostUntil
		if since := s.start.since(); !since.IsZero() {
			if t := time.Unix(sessions.Threshold(wall, boot, since), 0); t.After(until) {
				until = t
			}
		}
		s.env.Log.Warn("knocks refused that were stamped before the start, or before their client was added, or while knocks were lost; are the clocks right?",
			"refused", n, "stamped_until", until.UTC().Format(time.RFC3339), "now", wall.UTC().Format(time.RFC3339), "doubt", s.start.gap.NotBeforeMargin, "clock_synchronised", client.ClockState() != client.ClockUnsynchronised)
	}
	w.refused = refused
}
