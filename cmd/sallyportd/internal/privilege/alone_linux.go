package privilege

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/systemd"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/guard"
	"sallyport/sessions/gate/holder"
)

// alone is a holder that runs independently of servers.
type alone struct {
	Holding
	log    *slog.Logger
	held   Held
	kept   *kept
	holder *holder.Holder
	asked  chan reloading
}

// reloading is a command of the administrator to read the configuration again.
type reloading struct {
	trial *time.Duration // as in TrialQuestion
	done  chan<- reloaded
}

type reloaded struct {
	holder.Reloaded
	err error
}

// HoldAlone runs the holder that is independent of servers ("firewall hold"): with
// CAP_NET_ADMIN, CAP_BPF for the shield, and no other privilege it owns the firewall's
// table until ctx ends, whether a server runs or not, and loads the shield for each
// server. On SIGHUP it reads the configuration again. With more privileges it first
// drops them, and executes the same program again. When it returns nil, the table is
// there and closed, or removed as the configuration requires. If the configuration
// requires no firewall, there is no table.
func HoldAlone(ctx context.Context, h Holding, log *slog.Logger) error {
	if _, err := h.drop(ctx, log); err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	a := &alone{Holding: h, log: log, asked: make(chan reloading)}
	held, err := h.Load()
	if err != nil {
		return err
	}
	if !held.Guards {
		a.held = held
		return a.serve(ctx, hangups)
	}
	lock, err := a.guard(ctx)
	if err != nil || lock == nil {
		return err
	}
	defer lock.Close()
	// Again: guard may have waited for hours.
	if a.held, err = h.Load(); err != nil {
		return err
	}
	if !a.held.Guards {
		return errOtherPart
	}
	if a.kept, err = h.keep(a.held, nil, log); err != nil {
		return err
	}
	err = errors.Join(a.serve(ctx, hangups), a.kept.close(a.held.ClearOnExit))
	if err == nil {
		a.held.stopped(log)
	}
	return err
}

// errOtherPart: the file requires the firewall now, and did not before, or the other way
// round.
var errOtherPart = hint.With(errors.New("whether the configuration requires the firewall has changed"), "start the holder again")

// guard waits until no other process guards the table, such as the holder that a
// server has started, and then guards it. It returns nil if ctx ends first.
func (a *alone) guard(ctx context.Context) (*guard.Guard, error) {
	lock, err := takeGuard(ctx, a.log, func() {
		notifyReady(ctx) // the table is there, and closed
	})
	if ctx.Err() != nil {
		return nil, nil
	}
	return lock, err
}

func (a *alone) serve(ctx context.Context, hangups <-chan os.Signal) error {
	l, err := holder.Listen(ctx, a.Socket)
	if err != nil {
		return fmt.Errorf("listen for servers: %w", Unreadable(err))
	}
	users, err := ServerUsers(a.User)
	if err != nil {
		l.Close()
		return err
	}
	a.holder = holder.NewHolder(a.config(), users...)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.holder.Reload = func(request context.Context, trial *time.Duration) (holder.Reloaded, error) {
		done := make(chan reloaded, 1)
		select {
		case a.asked <- reloading{trial, done}:
		case <-request.Done():
			return holder.Reloaded{}, request.Err()
		}
		select {
		case r := <-done:
			return r.Reloaded, r.err
		case <-request.Done():
			return holder.Reloaded{}, request.Err()
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- a.holder.Serve(ctx, l) }()
	var lost <-chan error // never, without a table
	if a.kept != nil {
		a.log.Info("holding the firewall", "socket", a.Socket, "ports", len(a.held.Firewall.Ports), "stealth", a.held.Firewall.Stealth)
	} else {
		a.log.Info("holding the shield", "socket", a.Socket)
	}
	notifyReady(ctx)
	for {
		if a.kept != nil {
			lost = a.kept.lost
		}
		select {
		case err := <-ended:
			return err
		case err := <-lost:
			stop()
			return errors.Join(err, <-ended)
		case <-hangups:
			if _, err := a.reload(ctx, nil); err != nil {
				stop()
				return errors.Join(err, <-ended)
			}
		case r := <-a.asked:
			done, err := a.reload(ctx, r.trial)
			r.done <- done
			if err != nil {
				stop()
				return errors.Join(err, <-ended)
			}
		}
	}
}

func (a *alone) config() holder.Config {
	cfg := a.held.config(a.Clock, a.log)
	if a.kept != nil {
		cfg.Claim = holder.Claimed(a.kept.table)
		k, held := a.kept, a.held
		cfg.Trials = trials{func() (*kept, Held) { return k, held }, a.Load}
	}
	return cfg
}

// reload puts another configuration in force, and what it newly hides on trial, as in
// TrialQuestion. The table is replaced in one transaction: a port that both
// configurations hide stays closed. A fatal error means that this process no longer guards
// the table.
func (a *alone) reload(ctx context.Context, asked *time.Duration) (done reloaded, fatal error) {
	next, err := a.Load()
	restart := false
	switch {
	case err == nil && next.Guards != a.held.Guards:
		err = errOtherPart
	case err == nil && !next.Guards && asked != nil:
		err = errNothingGuarded
	case err == nil && !next.Guards && next.digest() == a.held.digest():
		a.held = next
	case err == nil && !next.Guards:
		err = a.holder.Replace(ctx, func() (holder.Config, error) {
			a.held = next
			return a.config(), nil
		})
	case err == nil && next.digest() == a.held.digest():
		err = a.settle(next, asked)
	case err == nil:
		restart = true
		err, fatal = a.replace(ctx, next, asked)
	}
	if err != nil {
		a.log.Error("nothing reloaded", "what", "firewall", "error", err)
		return reloaded{err: err}, fatal
	}
	if !a.held.Guards {
		a.log.Info("reloaded", "what", "shield")
		return reloaded{}, nil
	}
	a.log.Info("reloaded", "what", "firewall", "ports", len(a.held.Firewall.Ports), "stealth", a.held.Firewall.Stealth)
	done = reloaded{Reloaded: holder.Reloaded{Ports: len(a.held.Firewall.Ports), Stealth: a.held.Firewall.Stealth, Restart: restart}}
	for id, end := range a.kept.table.Trial() {
		done.OnTrial = append(done.OnTrial, a.held.names([]access.ServiceID{id}))
		if left := end.Sub(a.Clock.Monotonic()); left > 0 && a.Clock.Wall().Add(left).After(done.Until) {
			done.Until = a.Clock.Wall().Add(left).UTC()
		}
	}
	slices.Sort(done.OnTrial)
	return done, nil
}

// errNothingGuarded: there is no table.
var errNothingGuarded = errors.New("the configuration requires no firewall, so nothing can be on trial")

// settle puts a configuration in force that guards the same ports.
func (a *alone) settle(next Held, asked *time.Duration) error {
	if _, err := a.kept.hide(next, asked); err != nil {
		return err
	}
	err := errors.Join(a.kept.table.SetTrusted(next.Firewall.Trusted), a.kept.table.SetSilence(next.Firewall.Silence()))
	if err == nil {
		a.held = next
	}
	return err
}

// replace puts a configuration in force that guards other ports, while no server has the
// table. If that fails, it claims the table for the earlier one again: servers that come
// then get this table, and not the one that was given up.
func (a *alone) replace(ctx context.Context, next Held, asked *time.Duration) (err, fatal error) {
	var rejected error
	err = a.holder.Replace(ctx, func() (holder.Config, error) {
		a.kept.stop()
		k, err := a.keep(next, asked, a.log)
		if err == nil {
			a.held = next
		} else {
			rejected = err
			if k, fatal = a.keep(a.held, nil, a.log); fatal != nil {
				return holder.Config{}, fatal
			}
		}
		a.kept = k
		return a.config(), nil
	})
	return errors.Join(err, rejected), fatal
}

// notifyReady reports to systemd that this process is ready, if systemd has started it. It does
// not wait while the queue of systemd is full, and tries until ctx ends.
func notifyReady(ctx context.Context) {
	go systemd.FromEnvironment(os.Getenv).SendUntil(ctx, "READY=1")
}
