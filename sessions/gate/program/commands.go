package program

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/state"
)

// CommandsConfig configures NewCommands.
type CommandsConfig struct {
	Services []ServiceCommands
	Starter  Starter
	Record   Record // for example a state.ClosingRecord
	Clock    clock.Clock
	Log      *slog.Logger
}

// ServiceCommands are the commands of a service, of which it has at least one.
type ServiceCommands struct {
	Service     string
	Open, Close bool          // whether it has the command
	Limit       time.Duration // a command that runs for longer is stopped, and has failed
}

// Commands runs the commands of the leases of all services. Its methods may be
// called concurrently.
//
// The goroutine of Run starts commands; each has its goroutine until it has
// ended, and another goroutine writes the record. None of them holds mu while it
// calls the gate, the Starter or the Record. The gate holds the lock of a service when
// it calls Begin and End, which only change the queue.
type Commands struct {
	cfg      CommandsConfig
	services map[string]*ServiceCommands
	wake     chan struct{} // a command may be due
	added    chan struct{} // a lease waits for the record
	removed  chan struct{} // the record has more than is needed

	mu       sync.Mutex
	watchers map[string]func(error) // of the services
	queue    queue
	draining bool              // leases no longer begin
	stopped  bool              // commands no longer start
	dirty    bool              // the record may differ from the queue
	unsaved  bool              // the last write failed
	failing  map[string]string // by service: the last failure of a closing command that was logged
}

// NewCommands reads the record. When Run runs, the closing commands that an earlier
// server has left run before others of the same client and address.
func NewCommands(cfg CommandsConfig) *Commands {
	c := &Commands{
		cfg: cfg, services: map[string]*ServiceCommands{}, queue: newQueue(),
		wake: make(chan struct{}, 1), added: make(chan struct{}, 1), removed: make(chan struct{}, 1),
		watchers: map[string]func(error){}, failing: map[string]string{},
	}
	for i := range cfg.Services {
		c.services[cfg.Services[i].Service] = &cfg.Services[i]
	}
	c.recover()
	return c
}

// recover adds the closing commands of the record.
func (c *Commands) recover() {
	list, err := c.cfg.Record.Read()
	if err != nil {
		c.cfg.Log.Error("closing commands not readable; running the others", "error", err)
		c.dirty = true
	}
	now := c.cfg.Clock.Monotonic()
	for _, l := range list {
		s := c.services[l.Service]
		if s == nil || !s.Close {
			leaseLog(c.cfg.Log, l).Warn("recorded closing command dropped: the service has none now")
			c.dirty = true
			continue
		}
		c.queue.add(&job{service: s, lease: l, step: toClose, over: true, reason: reasonCrash, due: now})
	}
	if len(list) > 0 {
		c.cfg.Log.Info("running closing commands of an earlier server", "count", len(c.queue.jobs))
	}
	if c.dirty {
		signal(c.removed)
	}
}

// signal wakes the receiver of a channel with one place.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is already about to look
	}
}

// For returns the commands of a service, for gate.ServiceConfig; nil: it has none.
func (c *Commands) For(service string) gate.LeaseCommands {
	if s := c.services[service]; s != nil {
		return ofService{c, s}
	}
	return nil
}

// ofService is the commands of one service.
type ofService struct {
	*Commands
	service *ServiceCommands
}

// Watch implements gate.LeaseCommands.
func (s ofService) Watch(changed func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[s.service.Service] = changed
}

// Begin implements gate.LeaseCommands.
func (s ofService) Begin(l gate.CommandLease, done func(error)) (gate.CommandedLease, error) {
	j := &job{service: s.service, done: done, step: toOpen, resumed: l.Resumed, lease: state.Closing{
		ID: rand.Uint64(), Service: s.service.Service, Client: l.Client, Operation: l.Operation, Address: l.Address, Peer: l.Peer, Port: l.Port,
		Since: s.cfg.Clock.Wall(), Until: l.Until,
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, errStopped
	}
	if err := s.queue.room(j); err != nil {
		return nil, err
	}
	if s.service.Close {
		j.step, s.dirty = toRecord, true
		signal(s.added)
	}
	s.queue.add(j)
	signal(s.wake)
	return commanded{s.Commands, j}, nil
}

// commanded is a gate.CommandedLease.
type commanded struct {
	commands *Commands
	job      *job
}

// End implements gate.CommandedLease.
func (l commanded) End(reason gate.EndReason) {
	c := l.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(l.job, reason.Code())
}

// end ends the lease of a job. The caller holds the lock.
func (c *Commands) end(j *job, reason string) {
	c.queue.end(j, reason, c.cfg.Clock.Monotonic())
	c.tidy(j)
	signal(c.wake)
}

// tidy makes the record forget a job that has finished. The caller holds the lock.
func (c *Commands) tidy(j *job) {
	if j.step == finished && j.service.Close {
		c.dirty = true
		signal(c.removed)
	}
}

// Failing is a closing command that has failed, and is tried again.
type Failing struct {
	state.Closing
	Error    string    // of the last attempt
	Attempts int       // so far
	Next     time.Time // of the next attempt, by the wall clock
}

// maxFailing is the number of commands that Failing returns.
const maxFailing = 32

// Failing returns the closing commands that have failed, and the number of all: at
// most maxFailing, those of the earliest leases first.
func (c *Commands) Failing() (some []Failing, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.cfg.Clock.Monotonic(), c.cfg.Clock.Wall()
	for _, j := range c.queue.jobs {
		if j.attempts == 0 {
			continue
		}
		if all++; all <= maxFailing {
			some = append(some, Failing{j.lease, j.err.Error(), j.attempts, wall.Add(j.due.Sub(now))})
		}
	}
	return some, all
}

// Run runs commands until ctx ends, and then for a bounded time the closing commands
// that are left. It must end after the gate has closed. The record has what is left
// then.
func (c *Commands) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	watching, unwatch := context.WithCancel(ctx)
	for service := range c.services {
		parts.Go(func() { c.watch(watching, service) })
	}
	recorded := make(chan struct{})
	parts.Go(func() { c.keepRecord(recorded) })
	c.dispatch(ctx.Done(), func() bool { return false })
	c.drain()
	unwatch()
	close(recorded)
	parts.Wait()
	return nil
}

// watch reports to the gate when the commands of a service can no longer run.
func (c *Commands) watch(ctx context.Context, service string) {
	open, closing := c.gone(service, OnOpen), c.gone(service, OnClose)
	select {
	case <-ctx.Done():
		return
	case <-open:
	case <-closing:
	}
	c.mu.Lock()
	changed := c.watchers[service]
	c.mu.Unlock()
	c.cfg.Log.Error("commands can no longer run; service stays closed", "service", service, "error", ErrLost)
	if changed != nil {
		changed(fmt.Errorf("its commands cannot run: %w", ErrLost))
	}
}

// gone returns the channel of Starter.Gone, or nil if the service has no such command.
func (c *Commands) gone(service string, role Role) <-chan struct{} {
	if s := c.services[service]; role == OnOpen && !s.Open || role == OnClose && !s.Close {
		return nil
	}
	return c.cfg.Starter.Gone(ID{service, role})
}
