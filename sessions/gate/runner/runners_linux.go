package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"sallyport/sessions/gate/program"
)

// Runners are all runners of a server, one for each user that its programs run as.
// They implement program.Starter: each program is started by the runner that has it.
// Nil is no runner: a configuration without programs. The methods may be called
// concurrently.
type Runners struct {
	conns []*Conn
}

// NewRunners takes over connections, no two of which have a program in common.
func NewRunners(conns ...*Conn) *Runners { return &Runners{conns} }

// Begin is Conn.Begin of each.
func (r *Runners) Begin(instance string) error {
	if r == nil {
		return nil
	}
	for _, c := range r.conns {
		if err := c.Begin(instance); err != nil {
			return fmt.Errorf("programs of user %s: %w", c.user(), err)
		}
	}
	return nil
}

// Start implements program.Starter, as Conn.Start.
func (r *Runners) Start(request program.Request) (program.Run, error) {
	if c := r.of(request.Program); c != nil {
		return c.Start(request)
	}
	return nil, fmt.Errorf("no program %s of service %s", request.Program.Role, request.Program.Service)
}

// Lost reports the error with which the runner of a program has ended; nil: it runs.
func (r *Runners) Lost(id program.ID) error {
	c := r.of(id)
	if c == nil {
		return ErrLost
	}
	return c.Err()
}

// of returns the connection that has a program; nil: none does.
func (r *Runners) of(id program.ID) *Conn {
	if r == nil {
		return nil
	}
	for _, c := range r.conns {
		if slices.ContainsFunc(c.programs, func(p program.Program) bool { return p.ID == id }) {
			return c
		}
	}
	return nil
}

// Watch calls lost once for each runner that ends before ctx does, with the user and
// the programs that cannot run until the server starts again. It returns when ctx
// ends. The calls may be concurrent.
func (r *Runners) Watch(ctx context.Context, lost func(user string, programs []program.ID, why error)) {
	if r == nil {
		<-ctx.Done()
		return
	}
	var all sync.WaitGroup
	for _, c := range r.conns {
		all.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-c.Lost():
			}
			if ctx.Err() != nil {
				return
			}
			var ids []program.ID
			for _, p := range c.programs {
				ids = append(ids, p.ID)
			}
			lost(c.user(), ids, c.Err())
		})
	}
	<-ctx.Done()
	all.Wait()
}

// Dropped is how many lines of output were dropped since the start: see Conn.Dropped.
func (r *Runners) Dropped() (lines uint64) {
	if r == nil {
		return 0
	}
	for _, c := range r.conns {
		lines += c.Dropped()
	}
	return lines
}

// Close is Conn.Close of all runners at the same time.
func (r *Runners) Close(ctx context.Context) error {
	if r == nil {
		return nil
	}
	errs := make([]error, len(r.conns))
	var all sync.WaitGroup
	for i, c := range r.conns {
		all.Go(func() { errs[i] = c.Close(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// user is the user that the programs run as.
func (c *Conn) user() string { return c.programs[0].User }
