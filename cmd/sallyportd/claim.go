package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/state"
)

// holderWait is how long a server that starts waits for a holder that another
// program has started: the holder may be restarting.
const holderWait = 5 * time.Second

// claimHolder takes the lock of the state directory, and then makes the holder
// close everything. If the configuration has no use for a holder, it does nothing.
// If it requires none, but has the shield, no error of the holder is one of the server.
// While another server holds the lock, it does not change the firewall. If the lock
// fails for another reason, no server serves, so the holder closes everything
// nevertheless.
func claimHolder(
	ctx context.Context, cfg *config.Config, host config.Host, resumed privilege.Resumed, env daemon.Env,
) (*holder.Conn, *state.Lock, error) {
	conn, reason := resumed.Client, cfg.NeedsFirewall(host)
	if reason == "" && cfg.Shield != nil {
		return claimShield(ctx, cfg, conn, env)
	}
	if conn == nil && reason == "" {
		return nil, nil, nil // the server locks the directory later
	}
	lock, err := state.TakeLock(ctx, cfg.StateDir, daemon.StateWait, env.Log)
	var locked *state.LockedError
	if errors.As(err, &locked) {
		return nil, nil, errors.Join(err, closeHolder(conn))
	}
	if conn == nil {
		conn = holder.NewDialingConn(holder.Dialer(cfg.FirewallSocket), env.Clock)
	}
	waiting, cancel := context.WithTimeout(ctx, holderWait)
	defer cancel()
	if failed := conn.Begin(waiting, cfg.Digest()); failed != nil {
		err = errors.Join(err, explainHolder(failed, cfg, reason, resumed.Client != nil))
	}
	if err != nil {
		conn.Close()
		if lock != nil {
			lock.Close()
		}
		return nil, nil, err
	}
	return conn, lock, nil
}

// claimShield is claimHolder for a configuration that requires no firewall: the server
// serves without a holder too, and connects to one that comes later.
func claimShield(ctx context.Context, cfg *config.Config, child *holder.Conn, env daemon.Env) (*holder.Conn, *state.Lock, error) {
	lock, err := state.TakeLock(ctx, cfg.StateDir, daemon.StateWait, env.Log)
	if err != nil {
		return nil, nil, errors.Join(err, closeHolder(child))
	}
	dial, conn := holder.Dialer(cfg.FirewallSocket), child
	if conn != nil {
		conn.DialNext(dial)
	} else if conn = holder.NewDialingConn(dial, env.Clock); !holder.Answers(ctx, cfg.FirewallSocket) {
		err := fmt.Errorf("it requires CAP_BPF and CAP_NET_ADMIN, which this process was started without, and no holder answers at %s", cfg.FirewallSocket)
		daemon.LogNoShield(env.Log, cli.WithHint(err, "start the server with these capabilities, or \"sallyportd firewall hold\""))
		return conn, lock, nil
	}
	waiting, cancel := context.WithTimeout(ctx, holderWait)
	defer cancel()
	if err := conn.Begin(waiting, cfg.ShieldDigest()); err != nil {
		daemon.LogNoShield(env.Log, explainHolder(err, cfg, "shield = \"xdp\"", child != nil))
	}
	return conn, lock, nil
}

// explainHolder adds what to do to the error of a holder that does not begin.
// Reason is why the configuration requires the firewall, and started whether this
// server has started the holder.
func explainHolder(err error, cfg *config.Config, reason string, started bool) error {
	switch {
	case errors.Is(err, holder.ErrOtherConfiguration) && started:
		return cli.WithHint(err, "the configuration has changed while the server started: start it again")
	case errors.Is(err, holder.ErrOtherConfiguration):
		return cli.WithHint(err, "make the holder read this configuration: systemctl reload sallyportd-firewall, or send SIGHUP to \"sallyportd firewall hold\"")
	case errors.Is(err, holder.ErrOtherRelease):
		return cli.WithHint(err, "restart the holder: systemctl restart sallyportd-firewall; everything stays closed meanwhile")
	case started && errors.Is(err, holder.ErrRefused):
		return cli.WithHint(fmt.Errorf("start the firewall's holder: %w", err),
			"if the table belongs to another configuration: "+privilege.TakeOverHint)
	case started:
		return fmt.Errorf("start the firewall's holder: %w", err)
	case errors.Is(err, holder.ErrRefused):
		return cli.WithHint(err, fmt.Sprintf("a holder answers at %s; it accepts one server at a time, which must run as root, as the holder's user, or as \"user\"", cfg.FirewallSocket))
	}
	return cli.WithHint(fmt.Errorf("%s requires the firewall, and no process was started that keeps CAP_NET_ADMIN for it: %w", reason, err),
		fmt.Sprintf("start \"sallyportd firewall hold\", which answers at %s\n"+
			"or, if the configuration has changed while the server started, or SALLYPORTD_DROPPED was in its environment, which only the server may set: start the server again, without that variable", cfg.FirewallSocket))
}

// closeHolder closes the connection to a holder that has not begun, and so has
// changed nothing.
func closeHolder(conn *holder.Conn) error {
	if conn == nil {
		return nil
	}
	return conn.Close()
}
