package privilege

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"sallyport/cmd/internal/hint"
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
}

// HoldAlone runs the holder that is independent of servers ("firewall hold"): with
// CAP_NET_ADMIN, CAP_BPF for the shield, and no other privilege it owns the firewall's
// table until ctx ends, whether a server runs or not, and loads the shield for each
// server. On SIGHUP it reads the configuration again. With more privileges it first
// drops them, and executes the same program again. When it returns nil, the table is
// there and closed, or removed as the configuration requires. If the configuration
// requires no firewall, there is no table.
func HoldAlone(ctx context.Context, h Holding, log *slog.Logger) error {
	if _, err := h.drop(log); err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	a := &alone{Holding: h, log: log}
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
	if a.kept, err = h.keep(a.held, log); err != nil {
		return err
	}
	err = a.serve(ctx, hangups)
	return errors.Join(err, a.kept.close(a.held.ClearOnExit))
}

// errOtherPart: the file requires the firewall now, and did not before, or the other way
// round.
var errOtherPart = hint.With(errors.New("whether the configuration requires the firewall has changed"), "start the holder again")

// guard waits until no other process guards the table, such as the holder that a
// server has started, and then guards it. It returns nil if ctx ends first.
func (a *alone) guard(ctx context.Context) (*guard.Guard, error) {
	lock, err := takeGuard(ctx, a.log, func() {
		notify("READY=1") // the table is there, and closed
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
	ended := make(chan error, 1)
	go func() { ended <- a.holder.Serve(ctx, l) }()
	var lost <-chan error // never, without a table
	if a.kept != nil {
		a.log.Info("holding the firewall", "socket", a.Socket, "ports", len(a.held.Firewall.Ports), "stealth", a.held.Firewall.Stealth)
	} else {
		a.log.Info("holding the shield", "socket", a.Socket)
	}
	notify("READY=1")
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
			if err := a.reload(ctx); err != nil {
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
	}
	return cfg
}

// reload puts another configuration in force. The table is replaced in one
// transaction: a port that both configurations hide stays closed. An error means
// that this process no longer guards the table.
func (a *alone) reload(ctx context.Context) (fatal error) {
	next, err := a.Load()
	switch {
	case err == nil && next.Guards != a.held.Guards:
		err = errOtherPart
	case err == nil && !next.Guards && next.digest() == a.held.digest():
		a.held = next
	case err == nil && !next.Guards:
		err = a.holder.Replace(ctx, func() (holder.Config, error) {
			a.held = next
			return a.config(), nil
		})
	case err == nil && next.digest() == a.held.digest():
		err = errors.Join(a.kept.table.SetTrusted(next.Firewall.Trusted), a.kept.table.SetSilence(next.Firewall.Silence()))
		if err == nil {
			a.held = next
		}
	case err == nil:
		err = a.holder.Replace(ctx, func() (cfg holder.Config, err error) {
			a.kept.stop()
			k, err := a.keep(next, a.log)
			if err != nil {
				k, fatal = a.keep(a.held, a.log)
				if fatal == nil {
					a.kept = k
				}
				return cfg, err
			}
			a.kept, a.held = k, next
			return a.config(), nil
		})
	}
	if err != nil {
		a.log.Error("nothing reloaded", "what", "firewall", "error", err)
		return fatal
	}
	if !a.held.Guards {
		a.log.Info("reloaded", "what", "shield")
		return nil
	}
	a.log.Info("reloaded", "what", "firewall", "ports", len(a.held.Firewall.Ports), "stealth", a.held.Firewall.Stealth)
	return nil
}

// notify reports a state to systemd, if systemd has started this process.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return // systemd runs into its own timeout
	}
	defer conn.Close()
	conn.Write([]byte(state))
}
