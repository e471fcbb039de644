package daemon

import (
	"context"
	"math"
	"time"
)

// gapInterval is how often the server checks whether the host was suspended, in
// case the kernel does not notify it.
const gapInterval = time.Second

// minSuspension is the shortest suspension that counts: two clocks cannot be read
// at the same instant.
const minSuspension = 50 * time.Millisecond

// watchGaps makes the sessions reject older knocks, whenever valid knocks may have
// been lost: an attacker who overheard them could replay them now. It returns when
// ctx ends. Suspended is the value of s.suspended at the start.
func (s *Server) watchGaps(ctx context.Context, suspended time.Duration) {
	woken := s.jumps(ctx)
	var reopened chan struct{}
	if s.knocks != nil {
		reopened = s.knocks.reopened
	}
	tick := time.NewTicker(gapInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-reopened:
			s.rejectOlder(ctx, "knock ports were closed in the firewall")
			continue
		case <-woken:
		case <-tick.C:
		}
		if now := s.suspended(); now-suspended > minSuspension {
			suspended = now
			s.rejectOlder(ctx, "host was suspended")
		}
	}
}

// jumps returns a channel that has an element when a clock may have jumped, until ctx ends.
func (s *Server) jumps(ctx context.Context) <-chan struct{} {
	woken := make(chan struct{}, 1)
	if s.env.Clock.OnJump != nil {
		go s.env.Clock.OnJump(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}
	return woken
}

// suspended is how long the host has been suspended since some fixed moment.
func (s *Server) suspended() time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 3 { // a delay before the second reading only makes it larger
		mono := s.env.Clock.Monotonic()
		least = min(least, s.env.Clock.Boot().Sub(mono))
	}
	return least
}

// rejectOlder makes the sessions reject all knocks that are stamped up to now.
func (s *Server) rejectOlder(ctx context.Context, why string) {
	since, err := s.sessions.Missed(ctx)
	if err != nil {
		return // ctx has ended
	}
	s.start.record(since)
	s.env.Log.Warn("knocks may have been lost; rejecting older knocks", "reason", why)
}
