package bench

import (
	"context"
	"fmt"
	"time"

	"sallyport/bench/flood"
	"sallyport/bench/scenario"
)

// stream makes the stream of a step.
func (r *benchRun) stream(ctx context.Context, t *tested, s step) (stream flood.Stream, attempts []attempt, err error) {
	if s.turns() {
		return r.turn(ctx, t, s)
	}
	stream.For, stream.Rate = r.cfg.Window, r.rate(s.load)
	estimate := r.offered
	wanted := float64(honestRate)
	kind, flooded := scenario.ByName(s.kind)
	if s.load == highest || s.load == asked || stream.Rate >= overload {
		// Short, so that compared windows are close together: the load of other
		// machines on this host changes within seconds. Few honest knocks survive
		// without a shield, so more are sent. With one, their grants would cost the
		// server more than the flood, so the window is longer instead.
		if !shieldTargets[s.target] {
			wanted *= 5
		}
		if s.load != asked && (!shieldTargets[s.target] || !s.honest) {
			stream.For = stream.For * 2 / 5
		}
	}
	if kind.Alone {
		stream.For, wanted = r.cfg.Window, aloneRate
	}
	if stream.Rate > 0 {
		estimate = min(estimate, stream.Rate)
	}
	now := time.Now()
	if flooded {
		if err := r.flood(ctx, t, kind, now, &stream); err != nil {
			return stream, nil, err
		}
	}
	if !s.honest {
		return stream, nil, nil
	}
	ports := t.server.Config.Ports
	stream.Every = 1
	if flooded {
		stream.Every = honestEvery(estimate/float64(ports), wanted)
	}
	n := int(1.5*estimate*stream.For.Seconds()/float64(stream.Every)/float64(ports)) + 1
	if !flooded {
		n = int(estimate*stream.For.Seconds()) / ports
	}
	when := func(int) time.Time { return now }
	stream.Honest, attempts, _, err = t.traffic.honest(min(n, maxHonest), knockingIn(kind), when)
	return stream, attempts, err
}

// overload is a rate, in frames a second, above the capacity of a socket.
const overload = 1e6

// rate returns the number of frames a second at a load; 0: the maximum.
func (r *benchRun) rate(l load) float64 {
	switch l {
	case half, atTurn:
		return r.capacity / 2
	case fullAtTurn:
		return rates[fiveMillion]
	default:
		return rates[l]
	}
}

// flood sets the flood's frames of a stream.
func (r *benchRun) flood(
	ctx context.Context, t *tested, kind scenario.Kind, now time.Time, stream *flood.Stream,
) (err error) {
	if kind.Replayed {
		if err := r.replays(ctx, t); err != nil {
			return err
		}
	}
	if t.sink != nil {
		stream.Flood, err = forSink(r.network.link, kind, now)
		if t.name == dropAllSink { // as at the server that it is compared with
			stream.Vary = varied(kind, million)
		}
		return err
	}
	stream.Vary = varied(kind, t.server.Config.Clients)
	stream.Flood, err = t.traffic.flood(kind, now)
	return err
}

// honestEvery returns the number of flood frames for each honest one.
func honestEvery(rate, wanted float64) int { return max(1, int(rate/wanted)) }

// maxHonest is the maximum number of attempts in a window, each from a different
// address.
const maxHonest = 1 << 16

// replays sends honest knocks to a server. A flood then replays them.
func (r *benchRun) replays(ctx context.Context, t *tested) error {
	shots, err := r.knock(ctx, t, floodFrames/8)
	t.traffic.replays = shots
	return err
}

// knock sends n honest attempts without a flood, and returns their datagrams when the
// server has processed them.
func (r *benchRun) knock(ctx context.Context, t *tested, n int) ([]scenario.Shot, error) {
	now := time.Now()
	frames, _, shots, err := t.traffic.honest(n, everyClient, func(int) time.Time { return now })
	if err != nil {
		return nil, err
	}
	d := time.Second / 2
	s := flood.Stream{Honest: frames, Every: 1, Rate: float64(len(frames)) / (d.Seconds() * 0.8), For: d}
	if _, err := r.network.play(ctx, s); err != nil {
		return nil, fmt.Errorf("send honest knocks: %w", err)
	}
	time.Sleep(2 * inTime) // until the server has processed the last one
	return shots, nil
}

// turn makes a flood of the ports of two minutes around the turn of the minute.
// The honest clients change to the ports of the second minute at the turn.
func (r *benchRun) turn(ctx context.Context, t *tested, window step) (s flood.Stream, attempts []attempt, err error) {
	s.For = 2 * turnSide
	s.Rate = r.rate(window.load)
	next := time.Now().Truncate(time.Minute).Add(time.Minute)
	if time.Until(next) < turnSide+time.Second {
		next = next.Add(time.Minute)
	}
	begin := next.Add(-turnSide)
	kind, _ := scenario.ByName("bad-magic")
	before, err := t.traffic.flood(kind, next.Add(-time.Second))
	if err != nil {
		return s, nil, err
	}
	after, err := t.traffic.flood(kind, next)
	if err != nil {
		return s, nil, err
	}
	for i := range before {
		s.Flood = append(s.Flood, before[i], after[i])
	}
	rate := min(s.Rate, r.offered)
	s.Every = honestEvery(rate, honestRate)
	interval := time.Duration(float64(s.Every+1) / rate * 1e9)
	when := func(i int) time.Time { return begin.Add(time.Duration(i) * interval) }
	s.Honest, attempts, _, err = t.traffic.honest(int(s.For/interval), everyClient, when)
	if err != nil {
		return s, nil, err
	}
	select {
	case <-time.After(time.Until(begin)):
	case <-ctx.Done():
		err = ctx.Err()
	}
	return s, attempts, err
}

// turnSide is the duration of a flood before the turn of the minute, and after
// it.
const turnSide = 2 * time.Second

// turnSoon reports whether the next turn of the minute is a few seconds away: enough to
// prepare its window.
func turnSoon(now time.Time) bool {
	left := now.Truncate(time.Minute).Add(time.Minute).Sub(now)
	return left > turnSide+2*time.Second && left < turnSide+8*time.Second
}
