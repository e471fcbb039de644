package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions/gate"
)

// BackendConfig configures NewBackend.
type BackendConfig struct {
	Program ID
	Starter Starter // it adds the socket that the program inherits, if it does
	// Accepts returns nil if the program accepts connections. It may take until ctx
	// ends. It must not be satisfied by a program that is not this one.
	Accepts     func(ctx context.Context) error
	StartWithin time.Duration // until Accepts returns nil; else the run has failed
	StopAfter   time.Duration // of the program, from SIGTERM to SIGKILL
	Log         *slog.Logger
}

const (
	// stopMargin is how much longer than StopAfter a stopped program may take to end:
	// the time of the kernel and of the process that starts programs.
	stopMargin = 5 * time.Second
)

var (
	// ErrLost means that a program cannot be started until the server is restarted.
	ErrLost = errors.New("the process that starts the program has ended")

	errStarting  = errors.New("the program does not accept connections yet")
	errAccepting = errors.New("the program no longer accepts connections")
	errExited    = errors.New("exit code 0")
	errTooSlow   = errors.New("it did not accept connections in time")
)

// Backend keeps a program running while it is needed. It implements gate.Backend.
//
// The goroutine of Run owns the run of the program. Before it starts or stops the
// program, and when the program has ended, it reports that the program is not ready:
// so the service is closed before anything else can have the program's port.
type Backend struct {
	cfg     BackendConfig
	changed func(error)
	wake    chan struct{} // needed has changed

	mu      sync.Mutex // guards needed and refused
	needed  bool
	refused error // what the last probe of the run has found; nil: it accepts, or there was none

	life     life
	run      Run        // nil: no process of the program is left
	failure  error      // why the run is being stopped, if it has failed
	probes   chan error // results of probe
	unprobe  func()     // ends it
	lost     <-chan struct{}
	isLost   bool
	reported error // as the service knows it
}

// NewBackend returns a Backend whose program does not run. Run must run.
func NewBackend(cfg BackendConfig) *Backend {
	return &Backend{
		cfg: cfg, wake: make(chan struct{}, 1), reported: gate.ErrIdle, lost: cfg.Starter.Gone(cfg.Program),
		changed: func(error) {}, unprobe: func() {},
	}
}

// Watch implements gate.Backend.
func (b *Backend) Watch(changed func(error)) { b.changed = changed }

// Need implements gate.Backend.
func (b *Backend) Need(needed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.needed == needed {
		return
	}
	b.needed = needed
	select {
	case b.wake <- struct{}{}:
	default: // Run is already about to look
	}
}

func (b *Backend) isNeeded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.needed
}

// Run implements gate.Backend.
func (b *Backend) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next := b.step()
		timer.Reset(next)
		var ended <-chan struct{}
		if b.run != nil {
			ended = b.run.Done()
		}
		select {
		case <-ctx.Done():
		case <-b.wake:
		case <-timer.C:
		case <-b.lost:
			b.lost, b.isLost = nil, true
			b.cfg.Log.Error("program can no longer be started; service stays closed", "service", b.cfg.Program.Service, "error", ErrLost)
		case <-ended:
			b.ended(time.Now())
		case err := <-b.probes:
			b.probed(err)
		}
	}
	b.shutDown()
}

// idlePause is the pause of Run while nothing is due.
const idlePause = time.Hour

// step does what is due, and returns the pause until the next.
func (b *Backend) step() time.Duration {
	now, needed := time.Now(), b.isNeeded() && !b.isLost
	switch b.life.due(now, needed) {
	case doStart:
		b.start(now)
	case doStop:
		b.report(b.absent(nil))
		b.cfg.Log.Info("stopping the program", "service", b.cfg.Program.Service)
		b.stop()
	case doFail:
		b.failure = b.tooSlow()
		b.report(b.absent(b.failure))
		b.stop()
	case doNothing:
		switch {
		case b.run == nil:
			b.report(b.absent(b.life.why))
		case b.life.phase == stopping: // it may be needed again, and starts when it has ended
			b.report(b.absent(b.failure))
		}
	}
	if at := b.life.next(b.isNeeded() && !b.isLost); !at.IsZero() {
		return max(time.Until(at), 0)
	}
	return idlePause
}

// absent returns why a program that does not run is not ready.
func (b *Backend) absent(why error) error {
	switch {
	case b.isLost:
		return ErrLost
	case !b.isNeeded():
		return gate.ErrIdle
	case why != nil:
		return fmt.Errorf("the program failed, and is started again: %w", why)
	}
	return errStarting
}

func (b *Backend) start(now time.Time) {
	b.report(b.absent(b.life.why))
	run, err := b.cfg.Starter.Start(Request{Program: b.cfg.Program})
	if err != nil {
		b.life.failed(now, err)
		b.logFailed(err)
		return
	}
	b.run, b.failure = run, nil
	b.found(nil)
	b.life.started(now, b.cfg.StartWithin)
	b.probe()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ended handles the end of the run: no process of it is left. The step that follows
// reports it, before it starts another.
func (b *Backend) ended(now time.Time) {
	err := b.run.Err()
	if b.failure != nil {
		err = b.failure
	} else if err == nil {
		err = errExited
	}
	wanted := b.life.phase == stopping && b.failure == nil
	b.unprobe()
	b.run, b.probes = nil, nil
	if wanted {
		b.life.stopped()
		b.cfg.Log.Info("program stopped", "service", b.cfg.Program.Service)
		return
	}
	b.life.failed(now, err)
	b.logFailed(err)
}

func (b *Backend) logFailed(err error) {
	b.cfg.Log.Error("program failed; service closed; starting it again", "service", b.cfg.Program.Service, "error", err)
}

func (b *Backend) stop() {
	b.life.stops()
	b.unprobe()
	b.run.Stop()
}

// report reports whether the program is ready, if that has changed. When it returns,
// the service is open or closed accordingly.
func (b *Backend) report(err error) {
	if err == b.reported || err != nil && b.reported != nil && err.Error() == b.reported.Error() {
		return
	}
	b.reported = err
	b.changed(err)
}

// shutDown stops the program, and waits for its end, for a bounded time.
func (b *Backend) shutDown() {
	b.report(gate.ErrIdle)
	if b.run == nil {
		return
	}
	b.unprobe()
	b.run.Stop()
	select {
	case <-b.run.Done():
		b.cfg.Log.Info("program stopped", "service", b.cfg.Program.Service)
	case <-time.After(b.cfg.StopAfter + stopMargin):
		b.cfg.Log.Error("program has not stopped in time", "service", b.cfg.Program.Service)
	}
}
