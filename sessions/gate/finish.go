package gate

import (
	"context"
	"sync"
)

// The end of a process in order: it accepts no further connection, and ends or hands over
// those that it has, before the enforcers close and reset what is left.

// finisher is an enforcer of this process, or a Handler, with connections.
type finisher interface {
	// finish waits, until ctx ends, for requests that are being answered. If moves, it
	// returns the connections that another process can carry on: see move.go.
	finish(ctx context.Context, moves bool) []Moved
}

// Finish makes the services whose connections pass through this process accept no further
// one, answers the requests of web services that have come, and, if moves, pauses the
// connections of proxies, and returns those that another process can carry on. It waits for
// that until ctx ends. It must be called once, before the context of Run ends.
func (s *Services) Finish(ctx context.Context, moves bool) (moved []Moved) {
	var g sync.WaitGroup
	var mu sync.Mutex
	for _, service := range s.list {
		for _, e := range service.enforcers {
			f, ok := e.(finisher)
			if !ok {
				continue
			}
			g.Go(func() {
				of := f.finish(ctx, moves && service.moves())
				mu.Lock()
				defer mu.Unlock()
				for _, m := range of {
					m.Service = service.Name
					moved = append(moved, m)
				}
			})
		}
	}
	g.Wait()
	return moved
}

func (t *TCP) finish(ctx context.Context, moves bool) []Moved {
	t.mu.Lock()
	t.finishing = true
	t.closeSocket()
	t.mu.Unlock()
	if f, ok := t.cfg.Handler.(finisher); ok {
		return f.finish(ctx, moves)
	}
	return nil
}

// finish waits for the requests to all drawn ports. A lease of a drawn port ends with the
// process, and so do its connections.
func (r *Rotating) finish(ctx context.Context, _ bool) []Moved {
	var all []finisher
	r.Each(func(p DrawnPort) {
		if f, ok := p.(finisher); ok {
			all = append(all, f)
		}
	})
	var g sync.WaitGroup
	for _, f := range all {
		g.Go(func() { f.finish(ctx, false) })
	}
	g.Wait()
	return nil
}

// finish lets the requests that have come be answered, and closes idle connections.
func (w *Web) finish(ctx context.Context, _ bool) []Moved {
	w.server.Shutdown(ctx) // its error means that some are left, which the enforcer resets
	return nil
}

// finish pauses the connections.
func (p *Proxy) finish(ctx context.Context, moves bool) []Moved {
	if !moves {
		return nil
	}
	p.mu.Lock()
	p.finishing = true
	p.mu.Unlock()
	close(p.pause)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.pausable.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
	return p.moved
}
