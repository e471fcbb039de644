package daemon

import (
	"context"
	"math"
	"time"
)

// gapLook is how often it is looked whether the host was suspended, should it not
// tell.
const gapLook = time.Second

// notableSleep is how long the host has to have been suspended: two clocks cannot
// be read in one instant.
const notableSleep = 50 * time.Millisecond

// watchGaps tells the sessions when knocks may have been lost that are good
// otherwise, until ctx ends: whoever has overheard them could play them now. Slept
// is what it was at the start.
func (s *Server) watchGaps(ctx context.Context, slept time.Duration) {
	woken := make(chan struct{}, 1)
	if s.env.Clock.OnJump != nil {
		go s.env.Clock.OnJump(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}
	var back chan struct{}
	if s.knocks != nil {
		back = s.knocks.back
	}
	tick := time.NewTicker(gapLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-back:
			s.missed(ctx, "knock ports were closed in the firewall")
			continue
		case <-woken:
		case <-tick.C:
		}
		if now := s.slept(); now-slept > notableSleep {
			slept = now
			s.missed(ctx, "host was suspended")
		}
	}
}

// slept is how long the host was suspended, from some moment on.
func (s *Server) slept() time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 3 { // whatever delays the second reading makes it more
		mono := s.env.Clock.Monotonic()
		least = min(least, s.env.Clock.Boot().Sub(mono))
	}
	return least
}

// missed has nothing count that was stamped until now.
func (s *Server) missed(ctx context.Context, why string) {
	since, err := s.sessions.Missed(ctx)
	if err != nil {
		return // the end
	}
	s.start.began(since)
	s.env.Log.Warn("knocks may have been lost; rejecting older knocks", "reason", why)
}
