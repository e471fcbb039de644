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

	"sallyport/sessions/gate/guard"
	"sallyport/sessions/gate/helper"
)

// alone is a holder that goes on by itself.
type alone struct {
	Holding
	log    *slog.Logger
	held   Held
	kept   *kept
	holder *helper.Holder
}

// HoldAlone is the holder that goes on by itself: with CAP_NET_ADMIN and nothing
// else it owns the firewall's table, server or no server, until ctx ends. SIGHUP
// has it read the configuration again. With more privileges than that it drops
// them first, and executes the same program again. Its last act leaves the table
// there and closed, or is an error.
func HoldAlone(ctx context.Context, h Holding, log *slog.Logger) error {
	if _, err := h.drop(); err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	a := &alone{Holding: h, log: log}
	sign, err := a.guard(ctx)
	if err != nil || sign == nil {
		return err
	}
	defer sign.Close()
	// Not before: it may have waited for hours.
	if a.held, err = h.Load(); err != nil {
		return err
	}
	if a.kept, err = h.keep(a.held, log); err != nil {
		return err
	}
	err = a.serve(ctx, hangups)
	return errors.Join(err, a.kept.close(a.held.ClearOnExit))
}

// guard takes its turn as the one that guards the table: while a server has a
// holder of its own, that guards it. It returns nil if ctx ends before.
func (a *alone) guard(ctx context.Context) (*guard.Guard, error) {
	now, cancel := context.WithCancel(ctx)
	cancel()
	sign, err := guard.Take(now)
	if !errors.Is(err, guard.ErrTaken) {
		return sign, err
	}
	a.log.Warn("another process guards the firewall table; waiting")
	notify("READY=1") // the table is there, and closed
	if sign, err = guard.Take(ctx); ctx.Err() != nil {
		return nil, nil
	}
	return sign, err
}

func (a *alone) serve(ctx context.Context, hangups <-chan os.Signal) error {
	l, err := helper.Listen(ctx, a.Socket)
	if err != nil {
		return fmt.Errorf("listen for servers: %w", Unreadable(err))
	}
	users := []uint32{uint32(os.Geteuid())}
	if a.User != "" {
		who, err := find(a.User)
		if err != nil {
			l.Close()
			return err
		}
		users = append(users, uint32(who.uid))
	}
	a.holder = helper.NewHolder(a.config(), users...)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- a.holder.Serve(ctx, l) }()
	a.log.Info("holding the firewall", "socket", a.Socket, "ports", len(a.held.Firewall.Ports), "stealth", a.held.Firewall.Stealth)
	notify("READY=1")
	for {
		select {
		case err := <-ended:
			return err
		case err := <-a.kept.lost:
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

func (a *alone) config() helper.Config {
	return helper.Config{
		Policy: a.held.Policy, Digest: a.held.digest(), Schedule: a.held.Schedule,
		Claim: helper.Claimed(a.kept.table), Clock: a.Clock, Log: a.log,
	}
}

// reload has another configuration hold. The table is replaced in one
// transaction, in which nothing that both hide is open. An error means that
// nobody looks after the table any more.
func (a *alone) reload(ctx context.Context) (fatal error) {
	next, err := a.Load()
	switch {
	case err == nil && next.digest() == a.held.digest():
		a.held = next
	case err == nil:
		err = a.holder.Replace(ctx, func() (cfg helper.Config, err error) {
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
	a.log.Info("reloaded", "what", "firewall", "ports", len(a.held.Firewall.Ports), "stealth", a.held.Firewall.Stealth)
	return nil
}

// notify tells systemd, if that has started this process, how far it is.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return // systemd finds that out by itself
	}
	defer conn.Close()
	conn.Write([]byte(state))
}
