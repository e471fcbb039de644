package daemon

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
)

const (
	// sampleInterval is the time between two samples of the counters, for rates.
	sampleInterval = 10 * time.Second
	// maxSamples are as many as rates over the last minute require.
	maxSamples = 7
	// minRateTime is the shortest time over which a rate is computed.
	minRateTime = time.Second
)

// observed is what the status has, and no other part keeps.
type observed struct {
	wall, boot time.Time // of the start

	clock         observedClock
	lost, holders atomic.Uint64 // holders that were lost, and found after that
	inForce       atomic.Pointer[inForce]
	shield        atomic.Pointer[admin.Shield] // as of the last sample; nil: the configuration has none

	history history

	mu      sync.Mutex // of observers, and of a runner's end
	samples []sample
	runners []string // the users whose runner is lost
}

// inForce is the part of reloads that the status has.
type inForce struct {
	cfg     *config.Config
	clients int
}

// sample is the counters at a time of clock.Boot.
type sample struct {
	at  time.Time
	all counters
}

func (o *observed) begin(c clock.Clock) { o.boot, o.wall = c.Boot(), c.Wall() }

// holderLost and holderFound count the holders after the first one.
func (o *observed) holderLost() { o.lost.Add(1) }

func (o *observed) holderFound() {
	if o.lost.Load() > 0 {
		o.holders.Add(1)
	}
}

// runnerLost keeps the user whose runner has ended.
func (o *observed) runnerLost(user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runners = append(o.runners, user)
}

// runnersLost returns the users of runnerLost.
func (o *observed) runnersLost() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.runners)
}

// add keeps a sample, and drops the oldest one if there are too many.
func (o *observed) add(s sample) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.samples = append(o.samples, s); len(o.samples) > maxSamples {
		o.samples = append(o.samples[:0], o.samples[1:]...)
	}
}

// rates returns how fast each counter grew over the last minute, in the order of now.
func (o *observed) rates(now sample) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	rates := make([]float64, len(now.all))
	if len(o.samples) == 0 {
		return rates
	}
	oldest := o.samples[0]
	took := now.at.Sub(oldest.at)
	if took < minRateTime || len(oldest.all) != len(now.all) {
		return rates
	}
	for i, c := range now.all {
		rates[i] = float64(c.value-oldest.all[i].value) / took.Seconds()
	}
	return rates
}

// observe takes samples until ctx ends. It asks the holder about the shield, so that
// no request for the status waits for that.
func (s *Server) observe(ctx context.Context) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	var loaded <-chan struct{}
	if s.shield != nil {
		loaded = s.shield.tried()
	}
	for n := 0; ; n++ {
		if n%keeperSamples == 0 {
			s.observed.clock.findKeepers()
		}
		now := sample{s.env.Clock.Boot(), s.counters()}
		s.observed.add(now)
		s.observed.history.add(now)
		s.observed.shield.Store(s.shield.status())
		select {
		case <-ticker.C:
		case <-loaded:
			loaded = nil
		case <-ctx.Done():
			return
		}
	}
}

// current returns the settings in force, without waiting for a change that is in
// progress.
func (s *Server) current() (now inForce, changing bool) {
	if s.reloads.mu.TryLock() {
		s.observed.inForce.Store(&inForce{s.reloads.current, s.reloads.clients})
		s.reloads.mu.Unlock()
	} else {
		changing = true
	}
	return *s.observed.inForce.Load(), changing
}
