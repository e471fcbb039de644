package real

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/sessions/client"
)

const (
	// workers is how many clients knock at a time.
	workers = 16
	// firstOnly is how long a client of the curves of restarts and delays waits for the
	// challenge, and then for the service: it makes one attempt.
	firstOnly = 1500 * time.Millisecond
	// rest is how long a lane rests after an exchange: longer than a lease, and than the
	// server keeps an unfinished exchange.
	rest = 1300 * time.Millisecond
	// predicted is the number of exchanges of a prediction.
	predicted = 20_000
)

// curves measures the points of all plans.
func (r *run) curves(ctx context.Context) (points []Point, err error) {
	for _, p := range r.cfg.Curves {
		more, err := r.curve(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", p.curve, p.encoding.Scheme, err)
		}
		points = append(points, more...)
	}
	sortPoints(points, networkOrder)
	return points, nil
}

func (r *run) curve(ctx context.Context, p Plan) (points []Point, err error) {
	all := layouts(p.encoding, p.algorithm)
	s, c, err := r.deploy(ctx, all)
	var no *refused
	if err != nil && !errors.As(err, &no) {
		return nil, err
	}
	if s != nil {
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	for _, at := range p.places {
		point := Point{
			Curve: p.curve, Scheme: p.encoding.Scheme, Restart: p.encoding.Restart, Delay: p.encoding.Delay,
			Line: at.name, Network: at.model.Name,
			Expected: all[0].exchange().Predict(at.line, at.model, predicted, seed),
		}
		if no != nil {
			point.Refused = no.reason
		} else {
			r.progress(point.name())
			r.points++
			r.network.relay.set(at.line, at.model, seed+uint64(r.points))
			if err := r.measure(ctx, s, c, &point); err != nil {
				return nil, err
			}
		}
		points = append(points, point)
	}
	return points, nil
}

// measure makes the exchanges of a point, many at a time.
func (r *run) measure(ctx context.Context, s *server, c configuration, p *Point) error {
	k := knock{client: r.cfg.Client, attempts: 1, timeout: firstOnly}
	if p.Curve == Losses {
		k.attempts, k.timeout = client.DefaultAttempts, client.DefaultTimeout
	}
	before, err := r.ticks()
	if err != nil {
		return err
	}
	free := make(chan int, lanes) // lanes that may knock
	for lane := range lanes {
		free <- lane
	}
	var mu sync.Mutex
	var took []time.Duration
	var resting sync.WaitGroup
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for range r.cfg.Trials {
		lane := <-free
		g.Go(func() error {
			o, err := k.run(ctx, r.network.client, s.profile(lane))
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			p.Trials++
			if !o.Opened || o.Attempts > 1 {
				p.Failed++
			}
			if o.Opened {
				p.Opened++
				took = append(took, o.ended.Sub(o.started))
			}
			resting.Add(1)
			time.AfterFunc(rest, func() { free <- lane; resting.Done() })
			return nil
		})
		if ctx.Err() != nil {
			break
		}
	}
	err = g.Wait()
	// All leases must end, and all packets arrive, before the next point.
	resting.Wait()
	if err != nil {
		return err
	}
	if err := r.network.relay.failure(); err != nil {
		return err
	}
	slices.Sort(took)
	p.Median, p.P95 = quantile(took, 0.5), quantile(took, 0.95)
	stolen, err := r.stolen(before)
	r.most = max(r.most, stolen)
	return err
}
