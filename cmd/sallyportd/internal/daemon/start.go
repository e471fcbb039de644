package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
	"sallyport/verify/schedule"
)

// start is the server's start, and the latest moment since which it has received
// all knocks of its clients.
type start struct {
	gap   state.Gap
	ready chan struct{} // closed: a client that knocks now gets in

	mu     sync.Mutex
	latest time.Time // by the clock that is never set; zero: there was none
}

func (s *start) of(wall func() time.Time) *sessions.Start {
	return &sessions.Start{Wall: wall, Fresh: s.gap.Fresh, NotBeforeMargin: s.gap.NotBeforeMargin, LostUntil: s.gap.LostUntil}
}

// logGap warns of knocks that this start rejects beyond those that each start
// rejects.
func (s *start) logGap(now time.Time, log *slog.Logger) {
	if s.gap.NotBeforeMargin > 0 {
		log.Warn("nonce record incomplete; rejecting older knocks", "margin", s.gap.NotBeforeMargin)
	}
	if s.gap.LostUntil.After(now) {
		log.Warn("nonce record incomplete; rejecting older knocks", "stamped_until", s.gap.LostUntil.UTC().Format(time.RFC3339), "now", now.UTC().Format(time.RFC3339))
	}
}

// record records a moment since which all knocks are received.
func (s *start) record(since time.Time) {
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

// begin starts the sessions' acceptance of knocks: all are received from now on,
// because the knock ports are open, with all clients of the list. An error means
// that ctx has ended.
func (s *Server) begin(ctx context.Context) (began bool, err error) {
	since, began, err := s.sessions.Begin(ctx)
	if began {
		s.start.record(since)
	}
	return began, err
}

// awaitServing waits until the server accepts knocks, and then closes ready.
func (s *Server) awaitServing(ctx context.Context) error {
	if !s.awaitPorts(ctx) {
		return nil
	}
	s.awaitList(ctx)
	s.kept.wakeUp()
	if _, err := s.begin(ctx); err != nil {
		return nil // ctx has ended
	}
	if !s.start.since().IsZero() { // this call, or a list that was followed, has begun
		awaitSecond(ctx, s.env.Clock, s.start.since())
	}
	if ctx.Err() == nil {
		close(s.start.ready)
	}
	return nil
}

// awaitClients returns a reload that ends when its new clients can get in.
func (s *Server) awaitClients(reload func(context.Context) (admin.Reloaded, error)) func(context.Context) (admin.Reloaded, error) {
	return func(ctx context.Context) (admin.Reloaded, error) {
		done, err := reload(ctx)
		if err == nil {
			awaitSecond(ctx, s.env.Clock, s.start.since())
		}
		return done, err
	}
}

// awaitSecond waits until the second is over that the wall clock showed at a moment
// of the boot-time clock, by the rule for knocks: that takes at most a second, even
// if the wall clock is set meanwhile.
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

// markRevived marks the secrets of a plan that the server did not accept before: it
// has missed the knocks that were signed with them.
func (s *Server) markRevived(p *plan) {
	wall, before, after := s.env.Clock.Wall(), s.reloads.table, p.settings.Rules.Table
	if before == nil {
		return
	}
	for i := range p.slots {
		id := p.slots[i].Identifier
		for _, secret := range []*sessions.Secret{&p.slots[i].Current, &p.slots[i].Previous} {
			secret.Revived = after.Accepts(id, secret.Fingerprint, wall) && !before.Accepts(id, secret.Fingerprint, wall)
		}
	}
}

// startWatch logs, once a minute, knocks that were rejected because of their timestamps.
type startWatch struct {
	refused uint64
	checked time.Time // the wall clock at the last check
	warned  time.Time // the boot-time clock at the last warning of logExpiring; zero: there was none
}

func (s *Server) watchStart() *startWatch { return &startWatch{checked: s.env.Clock.Wall()} }

// check logs at most one line of each kind, and clears the margin in the state file
// once it is over.
func (w *startWatch) check(s *Server) {
	if err := s.state.ClearMargin(); err != nil {
		s.env.Log.Error("failed to write state; next start rejects knocks for longer", "error", err)
	}
	boot := s.env.Clock.Boot()
	wall := s.env.Clock.Wall()
	if newest := s.state.NewestStamp(); newest.After(wall.Add(schedule.MaxTolerance)) {
		s.env.Log.Warn("wall clock is behind an accepted knock", "stamp", newest.UTC().Format(time.RFC3339), "now", wall.UTC().Format(time.RFC3339),
			"hint", "check this clock: it is wrong, or was wrong when the server accepted the knock")
	}
	refused := s.sessions.Stats()[sessions.BeforeStart]
	if n := refused - w.refused; n > 0 {
		until := s.start.gap.LostUntil
		if since := s.start.since(); !since.IsZero() {
			if t := time.Unix(sessions.Threshold(wall, boot, since), 0); t.After(until) {
				until = t
			}
		}
		s.env.Log.Warn("rejected knocks with old timestamps",
			"refused", n, "stamped_until", until.UTC().Format(time.RFC3339), "now", wall.UTC().Format(time.RFC3339), "margin", s.start.gap.NotBeforeMargin,
			"clock_synchronised", client.ClockState() != client.ClockUnsynchronised, "hint", "check the clocks of the server and of its clients")
	}
	w.refused = refused
	w.logRotations(s, wall)
	w.logExpiring(s, wall, boot)
}
