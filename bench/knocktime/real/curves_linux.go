package real

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sallyport/bench/clock"
	"sallyport/sessions/client"
)

const (
	// pace is the time from one start of a client to the next: starting a process takes
	// most of the processor time of an exchange.
	pace = 15 * time.Millisecond
	// firstOnly is how long a client of the curves of restarts and delays waits for the
	// challenge, and then for the service: it makes one attempt.
	firstOnly = 1500 * time.Millisecond
	// rest is how long a lane rests after an exchange: longer than a lease, and than the
	// server keeps an unfinished exchange.
	rest = 1300 * time.Millisecond
	// again is how often the points of a plan are measured again if they are noisy.
	again = 1
	// predicted is the number of exchanges of a prediction.
	predicted = 10_000
)

// curves measures the points of all plans.
func (r *run) curves(ctx context.Context) (points []Point, err error) {
	for _, p := range r.cfg.Curves {
		r.progress(p.name())
		more, err := r.curve(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name(), err)
		}
		points = append(points, more...)
	}
	sortPoints(points)
	return points, nil
}

func (r *run) curve(ctx context.Context, p Plan) (points []Point, err error) {
	all := layouts(p.encoding, p.algorithm)
	s, c, err := r.deploy(ctx, all)
	var no *refused
	if err != nil && !errors.As(err, &no) {
		return nil, err
	}
	for _, at := range p.places {
		point := Point{
			Curve: p.curve, Scheme: p.encoding.Scheme, Restart: p.encoding.Restart, Delay: p.encoding.Delay,
			Line: at.name, Network: at.model.Name,
			Expected: all[0].exchange().Predict(at.line, at.model, predicted, seed),
		}
		if no != nil {
			point.Refused = no.reason
		}
		points = append(points, point)
	}
	if no != nil {
		return points, nil
	}
	err = r.measure(ctx, s, c, p, points)
	for n := 0; err == nil && points[0].noise() != "" && n < again; n++ {
		err = r.measure(ctx, s, c, p, points)
	}
	return points, errors.Join(err, s.stop())
}

// measure makes the exchanges of all points of a plan, in turns.
func (r *run) measure(ctx context.Context, s *server, c configuration, p Plan, points []Point) error {
	for i := range points {
		points[i].Trials, points[i].Failed, points[i].Opened = 0, 0, 0
	}
	before, err := clock.TicksOf(r.cores)
	if err != nil {
		return err
	}
	droppedBefore, err := s.dropped(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k := knock{client: r.cfg.Client, attempts: 1, timeout: firstOnly}
	if p.curve == Losses {
		k.attempts, k.timeout = client.DefaultAttempts, client.DefaultTimeout
	}
	free := make(chan int, lanes) // lanes that may knock
	for lane := range lanes {
		free <- lane
	}
	first := r.streams // no two exchanges draw the same numbers
	r.streams += uint64(r.cfg.Trials * len(points))
	var running sync.WaitGroup
	var mu sync.Mutex
	took := make([][]time.Duration, len(points))
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := range r.cfg.Trials * len(points) {
		i, lane := n%len(points), 0
		select {
		case <-ctx.Done():
		case lane = <-free:
			<-tick.C
		}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			r.network.relay.begin(lane, 0, p.places[i].line, p.places[i].model, first+uint64(n))
			k := k
			k.core = r.cores[n%len(r.cores)]
			o, err := k.run(ctx, r.network.client, s.profile(lane))
			if err != nil {
				cancel(err)
				return
			}
			mu.Lock()
			// An earlier lease of the lane can last longer if the machine is busy. Then the
			// exchange shows nothing.
			if !o.OpenBefore {
				points[i].count(o.Opened, o.Attempts)
			}
			if o.Opened && !o.OpenBefore {
				took[i] = append(took[i], o.ended.Sub(o.started))
			}
			mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(rest):
				free <- lane
			}
		})
	}
	running.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	stolen, err := r.stolen(before)
	if err != nil {
		return err
	}
	dropped, err := s.dropped(ctx)
	for i := range points {
		slices.Sort(took[i])
		points[i].Median, points[i].P95 = quantile(took[i], 0.5), quantile(took[i], 0.95)
		points[i].Stolen, points[i].Dropped = stolen, dropped-droppedBefore
	}
	return errors.Join(err, r.network.relay.failure())
}
